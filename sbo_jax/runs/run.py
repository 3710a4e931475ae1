"""From a configuration to a run folder: what `scripts/train.py` does."""

import json
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import jax

from .._version import __version__
from .._words import counted
from ..devices.environment import commit
from ..devices.processes import from_first, is_first, together
from ..disk.text import Json
from ..training.fit import BetweenBatches, Epoch
from ..training.losses import Diverged
from ..training.predictions import Predicted
from .config import TrainConfig
from .divergence import explained
from .folder.run_folder import RunFolder
from .learning import Course, Looks, Reporter, learn
from .preparation import Prepared
from .progress import Progress
from .test_split.answers import Answers, write_answers
from .test_split.epochs import EpochsOnTest
from .test_split.evaluation import UNTESTED, evaluate_on_test
from .watching.gradient_flow import FlowOfEpochs

# What `stopped` says of a run that goes on with --resume.
INTERRUPTED = "interrupted"
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def train(
    prepared: Prepared,
    folder: RunFolder,
    *reporters: Reporter,
    between_batches: BetweenBatches = lambda: None,
    on_predictions: Callable[[Predicted], None] = lambda predicted: None,
    keep_answers: bool = False,
) -> dict[str, Any]:
    """`learn`, look at the test split once; fill `folder`.

    Goes on where the folder's newest checkpoint stands, as if it had never stopped. Returns the
    content of summary.json. Divergence, and a KeyboardInterrupt from Ctrl-C, a reporter or
    `between_batches` of an evaluation, end the run early: `stopped` then says why, `test` is None,
    and the folder holds the best model so far. Several processes all call this; the first one
    writes. Of a finished run the test split is looked at once more, and its summary stays.
    `on_predictions` is given what the model answers for the test split, unless these are words;
    `keep_answers` leaves that in the folder, see `test_split.answers`.

    Raises:
      CheckpointError: checkpoints of another model, none that is whole, or a full disk, say; what
        was written before is whole.
    """
    progress = Progress(prepared, folder)
    looks = _Looks(prepared, folder, between_batches, on_predictions, keep_answers)
    return _train(prepared, folder, progress, reporters, between_batches, looks)


def train_without_test(
    prepared: Prepared,
    folder: RunFolder,
    *reporters: Reporter,
    between_batches: BetweenBatches = lambda: None,
) -> dict[str, Any]:
    """As `train`, for runs that are compared on validation: nothing reads the test split.

    Not even `report_test_epochs` does. The summary has no `test`, and nothing beside it; a `train`
    in the same folder adds both.
    """
    progress = Progress(prepared, folder)
    return _train(prepared, folder, progress, reporters, between_batches, Looks())


def _train(
    prepared: Prepared,
    folder: RunFolder,
    progress: Progress,
    reporters: Sequence[Reporter],
    between_batches: BetweenBatches,
    looks: Looks,
) -> dict[str, Any]:
    stopped, finished = None, _finished(folder) if progress.has_ended else None
    try:
        learn(prepared, progress, *reporters, between_batches=between_batches, looks=looks)
        if progress.best:
            looks.at_end(progress.best)
    except KeyboardInterrupt:
        stopped = INTERRUPTED
    except Diverged as error:
        progress.look_at_clock()
        stopped = str(explained(error, prepared))
    together(progress.close)
    summary = summarised(prepared, progress, looks.summary(progress.epochs))
    if stopped:
        summary["stopped"] = stopped
    if finished and (stopped or finished.keys() == summary.keys()):  # of a search: no test
        return summary if stopped else finished
    together(lambda: folder.write_json("summary.json", summary))
    return summary


def _finished(folder: RunFolder) -> Json | None:
    """The summary of a run that was not stopped; None where there is none, or not a whole one."""
    summary = None
    with suppress(OSError, ValueError):
        summary = json.loads((folder.path / "summary.json").read_text(encoding="utf-8"))
    summary = from_first(summary)
    return summary if isinstance(summary, dict) and "stopped" not in summary else None


class _Looks(Looks):
    """All that a run looks at of the test split and of gradients, and keeps in its folder."""

    def __init__(
        self,
        prepared: Prepared,
        folder: RunFolder,
        between_batches: BetweenBatches,
        on_predictions: Callable[[Predicted], None],
        keep_answers: bool,
    ):
        self._prepared, self._folder, self._keep = prepared, folder, keep_answers
        self._between_batches, self._on_predictions = between_batches, on_predictions
        asked = prepared.config.choice
        on_test = asked.report_test_epochs
        self._epochs = EpochsOnTest(prepared, folder, between_batches) if on_test else None
        self._flow = FlowOfEpochs(prepared, folder) if asked.report_gradient_flow else None
        self._found = UNTESTED

    def before(self) -> None:
        if self._flow:
            self._flow.before()

    def after(self, epoch: Epoch) -> None:
        if self._epochs:
            self._epochs.add(epoch)
        if self._flow:
            self._flow.after(epoch)

    def before_refit(self, best: Epoch) -> Json | None:
        return self._at(best, "chosen_answers.npz")

    def at_end(self, best: Epoch) -> None:
        self._found = self._at(best, "answers.npz", self._on_predictions)

    def summary(self, epochs: int) -> Json:
        return self._found | (self._epochs.summary(epochs) if self._epochs else {})

    def _at(
        self,
        epoch: Epoch,
        name: str,
        on_predictions: Callable[[Predicted], None] = lambda predicted: None,
    ) -> Json:
        """What a model reaches; its answers go into a file of this name, if they are kept."""
        found = evaluate_on_test(self._prepared, epoch, self._between_batches, on_predictions)
        if self._keep:
            together(lambda: self._write(name, found.answers))
        return found.summary()

    def _write(self, name: str, answers: Answers) -> None:
        if is_first():
            write_answers(self._folder.path / name, answers)


def _name(config: TrainConfig) -> str:
    lower = config.lower
    if config.layer.model != "sbo":
        return config.layer.model
    chosen = [name for name in (lower.solver, lower.operator) if name]
    return ", ".join([f"SBO-RNN, preset {lower.preset}", *chosen])


def _ended(prepared: Prepared, progress: Course) -> str | None:
    """Why there are no more epochs; None where a run was cut short."""
    recipe = prepared.recipe
    if progress.epochs == recipe.epochs:
        return "all epochs are done"
    if progress.has_patience:
        return None
    return f"no better validation in {counted(recipe.patience, 'epoch')}"


def summarised(
    prepared: Prepared,
    progress: Course,
    found: Json = UNTESTED,
) -> dict[str, Any]:
    """The content of summary.json; `found` is what is known of the test split."""
    device, best = jax.devices()[0], progress.best
    return {
        "task": prepared.task.name,
        "model": _name(prepared.config),
        "metric": prepared.objective.metric_name,
        "parameters": prepared.num_parameters,
        "epochs": progress.epochs,
        "ended": _ended(prepared, progress),
        "best_epoch": best and best.epoch,
        "best_validation": best and best.validation,
        "refit_steps": best.step if best and progress.refitted else None,
        **found,
        "chosen": progress.chosen,
        "seconds": round(progress.seconds, 1),
        "eta_max": best and best.eta_max,
        "versions": {"sbo_jax": __version__, "python": platform.python_version()}
        | {name: version(name) for name in _PACKAGES},
        "commit": commit(),
        "device": f"{prepared.mesh.size} x {device.device_kind} ({device.platform})",
        "seed": prepared.config.run.seed,
    }
