"""From a configuration to a run folder: what `scripts/train.py` does."""

import platform
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, Protocol, runtime_checkable

import jax

from .._version import __version__
from ..devices.processes import together
from ..training.fit import BetweenBatches, Epoch, Evaluator, fit
from ..training.losses import Diverged, check_finite
from ..training.predictions import predictions
from .config import TrainConfig
from .description import describe
from .folder import RunFolder
from .preparation import Prepared
from .progress import Progress
from .scores import scores

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


@runtime_checkable
class Reporter(Protocol):
    """Who watches a run: a progress bar, an event file, a test."""

    def step(self, step: int, loss: float) -> None: ...
    def epoch(self, report: Epoch) -> None: ...


def train(
    prepared: Prepared,
    folder: RunFolder,
    *reporters: Reporter,
    between_batches: BetweenBatches = lambda: None,
) -> dict[str, Any]:
    """Run `fit`, keep the best model by validation, look at the test split once; fill `folder`.

    Goes on where the folder's newest checkpoint stands, as if it had never stopped. Returns the
    content of summary.json. Divergence, and a KeyboardInterrupt from Ctrl-C, a reporter or
    `between_batches` of an evaluation, end the run early: `stopped` then says why, `test` is None,
    and the folder holds the best model so far. Several processes all call this; the first one
    writes.

    Raises:
      CheckpointError: checkpoints of another model, none that is whole, or a full disk, say; what
        was written before is whole.
    """
    described = describe(prepared.config, prepared.recipe, prepared.task)
    together(lambda: folder.write_json("config.json", described))
    stopped = test = beside = None
    progress = Progress(prepared, folder)
    try:
        _run_epochs(prepared, progress, reporters, between_batches)
        if progress.best:
            test = _test(prepared, progress.best, between_batches)
            beside = _scores(prepared, progress.best, between_batches)
    except KeyboardInterrupt:
        stopped = "interrupted"
    except Diverged as error:
        progress.look_at_clock()
        stopped = str(error)
        if learned := prepared.config.method.learn_hyper:
            stopped += f", or a smaller --hyper-rate, which moves {', '.join(learned)}"
    together(progress.close)
    summary = _summary(prepared, progress.best, test, beside, progress.seconds)
    if stopped:
        summary["stopped"] = stopped
    together(lambda: folder.write_json("summary.json", summary))
    return summary


def _run_epochs(
    prepared: Prepared,
    progress: Progress,
    reporters: Sequence[Reporter],
    between_batches: BetweenBatches,
) -> None:
    def on_step(step: int, loss: float) -> None:
        for reporter in reporters:
            reporter.step(step, loss)

    recipe = prepared.recipe
    epochs = fit(
        prepared.model,
        prepared.task,
        prepared.objective,
        prepared.method,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        seed=prepared.config.run.seed,
        start=progress.start,
        mesh=prepared.mesh,
        on_step=on_step,
        between_batches=between_batches,
    )
    for epoch in epochs:
        if epoch.validation is None:
            progress.stop_within(epoch)
            raise KeyboardInterrupt
        together(partial(progress.add, epoch))
        for reporter in reporters:
            reporter.epoch(epoch)


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
    prepared: Prepared, best: Epoch, between_batches: BetweenBatches
) -> dict[str, float | None]:
    if prepared.task.metric == "perplexity":
        return {}
    graphdef, _ = prepared.init()
    test, batch_size = prepared.task.test, prepared.recipe.batch_size
    predicted = predictions(graphdef, best.state, test, batch_size, between_batches)
    return scores(prepared.task, predicted)


def _name(config: TrainConfig) -> str:
    model = config.layer.model
    return f"SBO-RNN, preset {config.lower.preset}" if model == "sbo" else model


def _summary(
    prepared: Prepared,
    best: Epoch | None,
    test: float | None,
    beside: dict[str, float | None] | None,
    seconds: float,
) -> dict[str, Any]:
    """The keys of summary.json."""
    device = jax.devices()[0]
    return {
        "task": prepared.task.name,
        "model": _name(prepared.config),
        "metric": prepared.objective.metric_name,
        "parameters": prepared.num_parameters,
        "epochs": prepared.recipe.epochs,
        "best_epoch": best and best.epoch,
        "best_validation": best and best.validation,
        "test": test,
        "scores": beside,
        "seconds": round(seconds, 1),
        "eta_max": best and best.eta_max,
        "versions": {"sbo_jax": __version__, "python": platform.python_version()}
        | {name: version(name) for name in _PACKAGES},
        "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        "seed": prepared.config.run.seed,
    }
