"""From a configuration to a run folder: what `scripts/train.py` does."""

import math
import platform
import time
from importlib.metadata import version
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from .. import tasks
from .._version import __version__
from ..tasks import Recipe, Task
from .config import TrainConfig, build_model
from .fit import Diverged, Epoch, Evaluator, default_optimizer, fit, steps_per_epoch
from .objectives import OBJECTIVES, Objective
from .run_folder import RunFolder, describe
from .step import init_state, merge

# A model that improves every epoch of a second or less need not be written every time.
_SECONDS_BETWEEN_SAVES = 10.0
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


@runtime_checkable
class Reporter(Protocol):
    """Who watches a run: a progress bar, a test, nobody."""

    def step(self, step: int, loss: float) -> None: ...
    def epoch(self, report: Epoch) -> None: ...


class Silent:
    """Watches nothing."""

    def step(self, step: int, loss: float) -> None:
        pass

    def epoch(self, report: Epoch) -> None:
        pass


class Prepared(NamedTuple):
    """A configuration that was found good: every user's mistake shows before this exists."""

    config: TrainConfig
    recipe: Recipe
    task: Task
    model: nnx.Module
    objective: Objective

    @property
    def num_parameters(self) -> int:
        leaves = jax.tree.leaves(nnx.state(self.model, nnx.Param))
        return sum(leaf.size for leaf in leaves)


def prepare(config: TrainConfig) -> Prepared:
    """Load the data and draw the model.

    Raises:
      ValueError: anything wrong with the configuration or the data, in one sentence.
    """
    config.check()
    # The model first: a wrong rank, or a rollout that does not fit, should not cost a download.
    _trace(build_model(config, in_features=1, out_features=1, metric="mse"))
    task = tasks.load(
        config.task,
        seed=config.split_seed,
        length=config.length,
        data_dir=config.data_dir,
        raw_dir=config.raw_dir,
    )
    recipe = config.recipe(task)
    num_steps = recipe.epochs * steps_per_epoch(task, recipe.batch_size)
    default_optimizer(recipe.upper_rate, num_steps, config.clip)
    model = build_model(
        config, in_features=task.in_features, out_features=task.out_features, metric=task.metric
    )
    return Prepared(config, recipe, task, model, OBJECTIVES[task.metric])


def _trace(model: nnx.Module) -> None:
    """ValueError for what a model refuses as soon as it reads a sequence."""
    graphdef, state = nnx.split(model)
    inputs = jax.ShapeDtypeStruct((1, 2, 1), jnp.float32)
    jax.eval_shape(lambda state, inputs: nnx.merge(graphdef, state)(inputs), state, inputs)


def train(
    prepared: Prepared, folder: RunFolder, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Run `fit`, keep the best model by validation, look at the test split once; fill `folder`.

    Returns the content of summary.json. Ctrl-C and divergence end the run early: `stopped` then
    says why, `test` is None, and the folder holds the best model so far.
    """
    folder.write_json("config.json", describe(prepared.config, prepared.recipe, prepared.task))
    reporter = reporter or Silent()
    started = time.monotonic()
    best = _Best(prepared, folder)
    stopped = test = None
    try:
        _run_epochs(prepared, folder, reporter, best)
        best.save()
        test = _test(prepared, best.epoch) if best.epoch else None
    except KeyboardInterrupt:
        stopped = "interrupted"
    except Diverged as error:
        stopped = str(error)
    best.save()
    summary = _summary(prepared, best.epoch, test, time.monotonic() - started)
    if stopped:
        summary["stopped"] = stopped
    folder.write_json("summary.json", summary)
    return summary


class _Best:
    """The best epoch so far, on disk soon after it is found and certainly after `save`."""

    def __init__(self, prepared: Prepared, folder: RunFolder):
        self._folder = folder
        self._graphdef, _ = init_state(prepared.model, optax.identity())
        self._saved: Epoch | None = None
        self._saved_at = -math.inf
        self.epoch: Epoch | None = None

    def offer(self, epoch: Epoch) -> None:
        if epoch.is_best or self.epoch is None:
            self.epoch = epoch
        if time.monotonic() - self._saved_at > _SECONDS_BETWEEN_SAVES:
            self.save()

    def save(self) -> None:
        if self.epoch is not None and self.epoch is not self._saved:
            self._folder.save_model(self.epoch.epoch, merge(self._graphdef, self.epoch.state))
            self._saved, self._saved_at = self.epoch, time.monotonic()


def _run_epochs(prepared: Prepared, folder: RunFolder, reporter: Reporter, best: _Best) -> None:
    config, recipe, task = prepared.config, prepared.recipe, prepared.task
    num_steps = recipe.epochs * steps_per_epoch(task, recipe.batch_size)
    epochs = fit(
        prepared.model,
        task,
        prepared.objective,
        default_optimizer(recipe.upper_rate, num_steps, config.clip),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        seed=config.seed,
        on_step=reporter.step,
    )
    started = time.monotonic()
    for epoch in epochs:
        best.offer(epoch)
        if epoch.validation is None:
            raise KeyboardInterrupt
        folder.append_line("metrics.jsonl", epoch.metrics())
        seconds = time.monotonic() - started
        folder.append_line("timing.jsonl", {"epoch": epoch.epoch, "seconds": round(seconds, 3)})
        reporter.epoch(epoch)


def _test(prepared: Prepared, best: Epoch) -> float:
    graphdef, _ = init_state(prepared.model, optax.identity())
    evaluate = Evaluator(prepared.objective, graphdef, prepared.recipe.batch_size)
    return evaluate(best.state, prepared.task.test)[1]


def _summary(
    prepared: Prepared, best: Epoch | None, test: float | None, seconds: float
) -> dict[str, Any]:
    """The keys of summary.json."""
    device = jax.devices()[0]
    return {
        "task": prepared.task.name,
        "model": f"SBO-RNN, preset {prepared.config.preset}",
        "metric": prepared.objective.metric_name,
        "parameters": prepared.num_parameters,
        "best_epoch": best and best.epoch,
        "best_validation": best and best.validation,
        "test": test,
        "seconds": round(seconds, 1),
        "eta_max": best and best.eta_max,
        "versions": {"sbo_jax": __version__, "python": platform.python_version()}
        | {name: version(name) for name in _PACKAGES},
        "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        "seed": prepared.config.seed,
    }
