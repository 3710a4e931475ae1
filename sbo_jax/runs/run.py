"""From a configuration to a run folder: what `scripts/train.py` does."""

import math
import platform
import time
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from flax import nnx
from jax.sharding import Mesh

from .. import tasks
from .._version import __version__
from ..devices.mesh import SWEEP, check_divides, parse_mesh
from ..devices.processes import first_then_others, together
from ..disk.text import Json
from ..nn.language_model import SequenceLanguageModel
from ..tasks._types import Recipe, Task
from ..tasks.paired import paired
from ..tasks.streams import TokenSource
from ..training.fit import Epoch, Evaluator, Start, fit, steps_per_epoch
from ..training.losses import Diverged, check_finite
from ..training.method import GraphDef, Method, TrainState
from ..training.objectives import OBJECTIVES, Objective
from ..training.step import init_state, merge
from .build import build_model, check_model
from .checkpoints import Checkpoint
from .config import TrainConfig, check
from .config.train import Data
from .folder import TASK_SHAPE, RunFolder, describe, digest
from .methods import method
from .trained import model_arrays, set_arrays

# Epochs of a second or less need not be written every time.
_SECONDS_BETWEEN_SAVES = 10.0
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


@runtime_checkable
class Reporter(Protocol):
    """Who watches a run: a progress bar, an event file, a test."""

    def step(self, step: int, loss: float) -> None: ...
    def epoch(self, report: Epoch) -> None: ...


class Prepared(NamedTuple):
    """A configuration that was found good: every user's mistake shows before this exists."""

    config: TrainConfig
    recipe: Recipe
    task: Task
    model: nnx.Module
    objective: Objective
    method: Method
    mesh: Mesh

    def init(self) -> tuple[GraphDef, TrainState]:
        """The model's static half, and the state before the first step."""
        return init_state(self.model, self.method, self.recipe.batch_size)

    @property
    def num_parameters(self) -> int:
        leaves = jax.tree.leaves(nnx.state(self.model, nnx.Param))
        return sum(leaf.size for leaf in leaves)


def prepare(config: TrainConfig) -> Prepared:
    """Load the data and draw the model.

    Raises:
      ValueError: anything wrong with the configuration or the data, in one sentence.
    """
    check(config)
    if config.lower.rollout == "fused" and jax.default_backend() != "gpu":
        raise ValueError(
            f"expected a GPU for the rollout fused, got {jax.default_backend()}; try unrolled"
        )
    mesh = parse_mesh(config.run.mesh)
    if config.method.learn_hyper and mesh.size > 1:
        raise ValueError(
            f"expected one device to learn hyper-parameters, got {mesh.size}; try --mesh data=1"
        )
    if mesh.shape[SWEEP] > 1:
        raise ValueError(
            f"expected a mesh along data alone for a single run, got {config.run.mesh}; "
            f"sweep_eta.py trains many at once"
        )
    # The model first: a wrong rank, or a rollout that does not fit, should not cost a download.
    check_model(config)
    task = first_then_others(lambda: _load(config.data))
    recipe = config.upper.recipe(task)
    epoch_steps = steps_per_epoch(task, recipe.batch_size)
    check_divides(mesh, recipe.batch_size)
    model = build_model(config, **{name: getattr(task, name) for name in TASK_SHAPE})
    if isinstance(model, SequenceLanguageModel) and isinstance(task.train, TokenSource):
        model.start_from(task.train.counts(task.out_features))
    if config.method.learn_hyper:
        task = paired(task)
    objective = OBJECTIVES[task.metric]
    trained_by = method(config, objective, model, recipe, epoch_steps)
    return Prepared(config, recipe, task, model, objective, trained_by, mesh)


def _load(data: Data) -> Task:
    return tasks.load(
        data.task,
        seed=data.split_seed,
        length=data.length,
        train_fraction=data.train_fraction,
        folder=data.folder,
        data_dir=data.data_dir,
        raw_dir=data.raw_dir,
    )


def train(prepared: Prepared, folder: RunFolder, *reporters: Reporter) -> dict[str, Any]:
    """Run `fit`, keep the best model by validation, look at the test split once; fill `folder`.

    Goes on where the folder's newest checkpoint stands, as if it had never stopped. Returns the
    content of summary.json. Ctrl-C and divergence end the run early: `stopped` then says why,
    `test` is None, and the folder holds the best model so far. Several processes all call this;
    the first one writes.

    Raises:
      CheckpointError: checkpoints of another model, none that is whole, or a full disk, say; what
        was written before is whole.
    """
    described = describe(prepared.config, prepared.recipe, prepared.task)
    together(lambda: folder.write_json("config.json", described))
    stopped = test = None
    progress = _Progress(prepared, folder)
    try:
        _run_epochs(prepared, progress, reporters)
        test = _test(prepared, progress.best) if progress.best else None
    except KeyboardInterrupt:
        stopped = "interrupted"
    except Diverged as error:
        stopped = str(error)
    together(progress.close)
    summary = _summary(prepared, progress.best, test, progress.seconds)
    if stopped:
        summary["stopped"] = stopped
    together(lambda: folder.write_json("summary.json", summary))
    return summary


class _Progress:
    """The run so far: on disk soon after every epoch, and certainly after `close`.

    ``start`` is where training goes on, None for its beginning.
    """

    def __init__(self, prepared: Prepared, folder: RunFolder):
        self._folder, self._checkpoints = folder, folder.checkpoints
        self._graphdef, fresh = prepared.init()
        self._worst = prepared.objective.worst
        self._unsaved: Epoch | None = None
        self._saved_at, self._began = -math.inf, time.monotonic()
        self.best: Epoch | None = None
        self.start: Start | None = None
        self._describes = digest(describe(prepared.config, prepared.recipe, prepared.task))
        found = self._checkpoints.restore(fresh, self._arrays(fresh))
        if found is None:
            together(partial(self._begin, fresh))
        elif found.best is not None:
            self._go_on_from(found, found.best)
        together(lambda: folder.cut(self.start.epoch if self.start else 0))

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def add(self, epoch: Epoch) -> None:
        """A complete epoch."""
        if epoch.is_best or self.best is None:
            self.best = epoch
        self._folder.append_line("metrics.jsonl", epoch.metrics())
        timing = {"epoch": epoch.epoch, "seconds": round(self.seconds, 3)}
        self._folder.append_line("timing.jsonl", timing)
        self._unsaved = epoch
        if time.monotonic() - self._saved_at > _SECONDS_BETWEEN_SAVES:
            self._save()

    def stop_within(self, epoch: Epoch) -> None:
        """An epoch that was cut short; its steps so far are not lost."""
        self._unsaved = epoch
        if self.best is None:
            self.best = epoch

    def close(self) -> None:
        """Save, and read the model back before anybody relies on it."""
        self._save()
        self._checkpoints.wait()
        if self.best is not None:
            self._checkpoints.check_model(self._arrays(self.best.state))

    def _begin(self, fresh: TrainState) -> None:
        """A first checkpoint: results without one were not made here, and are not overwritten."""
        self._folder.check_without_results()
        self._checkpoints.save(Checkpoint(fresh, None, {"describes": self._describes}))
        self._checkpoints.wait()

    def _save(self) -> None:
        epoch = self._unsaved
        if epoch is None:
            return
        best = self.best or epoch
        complete = epoch.validation is not None
        record = {
            "epoch": epoch.epoch if complete else epoch.epoch - 1,
            "losses": [] if complete else list(epoch.losses),
            "measures": {} if complete else dict(epoch.measures),
            "best": best.metrics(),
            "seconds": self.seconds,
            "describes": self._describes,
        }
        self._checkpoints.save(Checkpoint(epoch.state, self._arrays(best.state), record))
        self._unsaved, self._saved_at = None, time.monotonic()

    def _arrays(self, state: TrainState) -> Json:
        return model_arrays(merge(self._graphdef, state))

    def _state(self, arrays: Json, state: TrainState) -> TrainState:
        """`state` with the arrays of another model."""
        model = merge(self._graphdef, state)
        set_arrays(model, arrays)
        params, rest = nnx.state(model, nnx.Param, ...)
        return state._replace(params=params, rest=rest)

    def _go_on_from(self, found: Checkpoint, arrays: Json) -> None:
        state, record = found.state, found.record
        best = _best(record["best"], self._state(arrays, state))
        validation = self._worst
        if best.validation is not None:
            self.best, validation = best, best.validation
        losses = tuple(record["losses"])
        measures = {name: tuple(xs) for name, xs in record.get("measures", {}).items()}
        self.start = Start(state, record["epoch"], losses, validation, measures)
        self._began -= record["seconds"]


def _best(metrics: dict[str, Any], state: TrainState) -> Epoch:
    """The epoch of these metrics; means of measures stand for the measures themselves."""
    own = {name: value for name, value in metrics.items() if name in Epoch._fields}
    measures = {name: (value,) for name, value in metrics.items() if name not in own}
    return Epoch(**own, is_best=True, state=state, losses=(), measures=measures)


def _run_epochs(prepared: Prepared, progress: _Progress, reporters: Sequence[Reporter]) -> None:
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
    )
    for epoch in epochs:
        if epoch.validation is None:
            progress.stop_within(epoch)
            raise KeyboardInterrupt
        together(partial(progress.add, epoch))
        for reporter in reporters:
            reporter.epoch(epoch)


def _test(prepared: Prepared, best: Epoch) -> float:
    graphdef, _ = prepared.init()
    evaluate = Evaluator(prepared.objective, graphdef, prepared.recipe.batch_size, prepared.mesh)
    loss, score = evaluate(best.state, prepared.task.test)
    numbers = {f"test {prepared.objective.metric_name}": score, "test loss": loss}
    check_finite(numbers, best.step, graphdef, best.state)
    return score


def _name(config: TrainConfig) -> str:
    model = config.layer.model
    return f"SBO-RNN, preset {config.lower.preset}" if model == "sbo" else model


def _summary(
    prepared: Prepared, best: Epoch | None, test: float | None, seconds: float
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
        "seconds": round(seconds, 1),
        "eta_max": best and best.eta_max,
        "versions": {"sbo_jax": __version__, "python": platform.python_version()}
        | {name: version(name) for name in _PACKAGES},
        "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        "seed": prepared.config.run.seed,
    }
