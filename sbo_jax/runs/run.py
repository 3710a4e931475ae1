"""From a configuration to a run folder: what `scripts/train.py` does."""

import platform
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax

from .._version import __version__
from ..devices.environment import commit
from ..devices.processes import is_first, together
from ..disk.text import Json
from ..training.fit import BetweenBatches, Epoch
from ..training.losses import Diverged
from ..training.predictions import Predicted
from .config import TrainConfig
from .folder.description import describe
from .folder.run_folder import RunFolder
from .learning import Course, Looks, Reporter, learn
from .preparation import Prepared
from .progress import Progress
from .test_split.answers import Answers, write_answers
from .test_split.epochs import EpochsOnTest
from .test_split.evaluation import UNTESTED, evaluate_on_test

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
    writes. `on_predictions` is given what the model answers for the test split, unless these are
    words; `keep_answers` leaves that in the folder, see `test_split.answers`.

    Raises:
      CheckpointError: checkpoints of another model, none that is whole, or a full disk, say; what
        was written before is whole.
    """
    described = describe(prepared.config, prepared.recipe, prepared.task)
    together(lambda: folder.write_json("config.json", described))
    stopped, found = None, UNTESTED
    progress = Progress(prepared, folder)
    looks = _Looks(prepared, folder, between_batches, keep_answers)
    try:
        learn(prepared, progress, *reporters, between_batches=between_batches, looks=looks)
        if progress.best:
            found = looks.at(progress.best, "answers.npz", on_predictions)
    except KeyboardInterrupt:
        stopped = "interrupted"
    except Diverged as error:
        progress.look_at_clock()
        stopped = str(error)
        if learned := prepared.config.method.learn_hyper:
            stopped += f", or a smaller --hyper-rate, which moves {', '.join(learned)}"
    together(progress.close)
    summary = summarised(prepared, progress, found) | looks.of_epochs(progress.epochs)
    if stopped:
        summary["stopped"] = stopped
    together(lambda: folder.write_json("summary.json", summary))
    return summary


class _Looks(Looks):
    """All that a run looks at of the test split, and keeps of it in its folder."""

    def __init__(
        self,
        prepared: Prepared,
        folder: RunFolder,
        between_batches: BetweenBatches,
        keep_answers: bool,
    ):
        self._prepared, self._folder, self._keep = prepared, folder, keep_answers
        self._between_batches = between_batches
        asked = prepared.config.choice.report_test_epochs
        self._epochs = EpochsOnTest(prepared, folder, between_batches) if asked else None

    def after(self, epoch: Epoch) -> None:
        if self._epochs:
            self._epochs.add(epoch)

    def before_refit(self, best: Epoch) -> Json | None:
        return self.at(best, "chosen_answers.npz")

    def at(
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

    def of_epochs(self, epochs: int) -> Json:
        return self._epochs.summary(epochs) if self._epochs else {}

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
    return None if progress.has_patience else f"no better validation in {recipe.patience} epochs"


def summarised(
    prepared: Prepared,
    progress: Course,
    found: Json = UNTESTED,
) -> dict[str, Any]:
    """The content of summary.json; `found` is what an `Evaluation` of the test split says."""
    device, best = jax.devices()[0], progress.best
    return {
        "task": prepared.task.name,
        "model": _name(prepared.config),
        "metric": prepared.objective.metric_name,
        "parameters": prepared.num_parameters,
        "epochs": prepared.recipe.epochs if progress.has_patience else progress.epochs,
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
