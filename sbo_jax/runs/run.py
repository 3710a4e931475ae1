"""From a configuration to a run folder: what `scripts/train.py` does."""

import platform
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, Protocol, runtime_checkable

import jax

from .._version import __version__
from ..devices.environment import commit
from ..devices.processes import together
from ..tasks.sources.joined import joined
from ..training.fit import BetweenBatches, Epoch, Evaluator, fit
from ..training.losses import Diverged, OnStep, check_finite
from ..training.predictions import Predicted, predictions
from ..training.refit import fit_steps
from .config import TrainConfig
from .folder.description import describe
from .folder.run_folder import RunFolder
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
    on_predictions: Callable[[Predicted], None] = lambda predicted: None,
) -> dict[str, Any]:
    """Run `fit`, keep the best model by validation, look at the test split once; fill `folder`.

    If asked for, training stops once patience is exhausted, and the best model is trained anew on
    the samples of validation too.

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
    on_step = _telling(reporters)
    try:
        _run_epochs(prepared, progress, reporters, on_step, between_batches)
        if prepared.config.choice.refit:
            _refit(prepared, progress, on_step)
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
    summary = _summary(prepared, progress, test, beside)
    if stopped:
        summary["stopped"] = stopped
    together(lambda: folder.write_json("summary.json", summary))
    return summary


def _run_epochs(
    prepared: Prepared,
    progress: Progress,
    reporters: Sequence[Reporter],
    on_step: OnStep,
    between_batches: BetweenBatches,
) -> None:
    recipe = prepared.recipe
    if not progress.has_patience:
        return
    epochs = fit(
        prepared.model,
        prepared.task,
        prepared.objective,
        prepared.method,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        seed=prepared.config.run.seed,
        select=prepared.select,
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
        if not progress.has_patience:
            return


def _refit(prepared: Prepared, progress: Progress, on_step: OnStep) -> None:
    """Train anew from the same start for the steps that were best; nothing if that is done.

    Cut short, it begins again: only its end is saved.
    """
    if progress.best is None or progress.refitted:
        return
    together(progress.save)
    state = fit_steps(
        prepared.model,
        joined(prepared.task),
        prepared.objective,
        prepared.method,
        num_steps=progress.best.step,
        batch_size=prepared.recipe.batch_size,
        seed=prepared.config.run.seed,
        mesh=prepared.mesh,
        on_step=on_step,
    )
    together(lambda: progress.refit(state))


def _telling(reporters: Sequence[Reporter]) -> OnStep:
    def on_step(step: int, loss: float) -> None:
        for reporter in reporters:
            reporter.step(step, loss)

    return on_step


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


def _ended(prepared: Prepared, progress: Progress) -> str | None:
    """Why there are no more epochs; None where a run was cut short."""
    recipe = prepared.recipe
    if progress.epochs == recipe.epochs:
        return "all epochs are done"
    return None if progress.has_patience else f"no better validation in {recipe.patience} epochs"


def _summary(
    prepared: Prepared,
    progress: Progress,
    test: float | None,
    beside: dict[str, float | None] | None,
) -> dict[str, Any]:
    """The keys of summary.json."""
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
        "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        "seed": prepared.config.run.seed,
    }
