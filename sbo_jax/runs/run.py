"""From a configuration to a run folder: what `scripts/train.py` does."""

import platform
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax

from .._version import __version__
from ..devices.environment import commit
from ..devices.processes import together
from ..training.fit import BetweenBatches, Epoch, Evaluator
from ..training.losses import Diverged, check_finite
from ..training.predictions import Predicted, predictions
from .config import TrainConfig
from .folder.description import describe
from .folder.run_folder import RunFolder
from .learning import Course, Reporter, learn
from .preparation import Prepared
from .progress import Progress
from .scores import scores

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def train(
    prepared: Prepared,
    folder: RunFolder,
    *reporters: Reporter,
    between_batches: BetweenBatches = lambda: None,
    on_predictions: Callable[[Predicted], None] = lambda predicted: None,
) -> dict[str, Any]:
    """`learn`, look at the test split once; fill `folder`.

    Goes on where the folder's newest checkpoint stands, as if it had never stopped. Returns the
    content of summary.json. Divergence, and a KeyboardInterrupt from Ctrl-C, a reporter or
    `between_batches` of an evaluation, end the run early: `stopped` then says why, `test` is None,
    and the folder holds the best model so far. Several processes all call this; the first one
    writes. `on_predictions` is given what the model answers for the test split, unless these are
    words.

    Raises:
      CheckpointError: checkpoints of another model, none that is whole, or a full disk, say; what
        was written before is whole.
    """
    described = describe(prepared.config, prepared.recipe, prepared.task)
    together(lambda: folder.write_json("config.json", described))
    stopped = test = beside = None
    progress = Progress(prepared, folder)
    try:
        learn(prepared, progress, *reporters, between_batches=between_batches)
        if progress.best:
            test = _test(prepared, progress.best, between_batches)
            beside = _scores(prepared, progress.best, between_batches, on_predictions)
    except KeyboardInterrupt:
        stopped = "interrupted"
    except Diverged as error:
        progress.look_at_clock()
        stopped = str(error)
        if learned := prepared.config.method.learn_hyper:
            stopped += f", or a smaller --hyper-rate, which moves {', '.join(learned)}"
    together(progress.close)
    summary = summarised(prepared, progress, test, beside)
    if stopped:
        summary["stopped"] = stopped
    together(lambda: folder.write_json("summary.json", summary))
    return summary


def _test(prepared: Prepared, best: Epoch, between_batches: BetweenBatches) -> float:
    graphdef, _ = prepared.init()
    evaluate = Evaluator(
        prepared.objective,
        graphdef,
        prepared.recipe.batch_size,
        prepared.mesh,
        between_batches,
    )
    loss, score = evaluate(best.state, prepared.task.test)
    numbers = {f"test {prepared.objective.metric_name}": score, "test loss": loss}
    check_finite(numbers, best.step, graphdef, best.state)
    return score


def _scores(
    prepared: Prepared,
    best: Epoch,
    between_batches: BetweenBatches,
    on_predictions: Callable[[Predicted], None],
) -> dict[str, float | None]:
    if prepared.task.metric == "perplexity":
        return {}
    graphdef, _ = prepared.init()
    test, batch_size = prepared.task.test, prepared.recipe.batch_size
    predicted = predictions(graphdef, best.state, test, batch_size, between_batches)
    on_predictions(predicted)
    return scores(prepared.task, predicted)


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
    test: float | None = None,
    beside: dict[str, float | None] | None = None,
) -> dict[str, Any]:
    """The content of summary.json; without test samples, `test` and the scores beside are None."""
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
        "test": test,
        "scores": beside,
        "seconds": round(progress.seconds, 1),
        "eta_max": best and best.eta_max,
        "versions": {"sbo_jax": __version__, "python": platform.python_version()}
        | {name: version(name) for name in _PACKAGES},
        "commit": commit(),
        "device": f"{prepared.mesh.size} x {device.device_kind} ({device.platform})",
        "seed": prepared.config.run.seed,
    }
