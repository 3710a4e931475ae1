"""A grid over (eta, mu, seed) trained at once: `fit` for many models of one structure.

eta and mu are arrays, so models that differ in them and in their parameters share a graphdef: their
states are stacked along an axis of cells, and one compiled step moves all of them. A cell is the
run that `scripts/train.py` makes of the same eta, mu and seed, except that all cells see the
batches in the order of seed 0. Nothing passes between cells: one that diverges harms no other.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from ..hyperparameters import check_ranges
from ..tasks import Task, TaskName
from ..tasks.loader import evaluation_batches, training_batches
from .building import build_model
from .config import TrainConfig
from .fit import OnStep, default_optimizer, steps_per_epoch
from .lower_report import lower_report
from .mesh import (
    PER_MODEL,
    PER_SAMPLE,
    SWEEP,
    axis_to_average,
    check_divides,
    make_mesh,
    parse_mesh,
    put,
)
from .objectives import Objective
from .run import Prepared, prepare
from .run_folder import TASK_SHAPE
from .step import GraphDef, TrainState, eval_step, init_state, train_step


@dataclass(frozen=True)
class SweepConfig:
    """Train a grid over eta, mu and seed at once. Without arguments: 30 cells on digits."""

    etas: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0)
    """lower-level step sizes, > 0"""
    mus: tuple[float, ...] = (0.0, 0.5, 0.9)
    """momenta, in [0, 1); 0 is SGD"""
    seeds: tuple[int, ...] = (0, 1)
    """of the parameters"""
    task: TaskName = "digits"
    """data set"""
    folder: str | None = None
    """of the task folder: your dataset.toml, or the folder that holds it (docs/own_data.md)"""
    train_fraction: float | None = None
    """part of the training samples to keep, 0 < f <= 1, of every class its share"""
    length: int | None = None
    """time steps, for tasks that can choose (adding: 100)"""
    solver: Literal["heavy_ball", "nesterov"] = "nesterov"
    """lower-level optimiser"""
    operator: Literal["low_rank", "dense", "diagonal", "scalar"] = "low_rank"
    """recurrent map"""
    hidden: int = 32
    """hidden units"""
    epochs: int = 20
    """passes over the training set"""
    batch_size: int | None = None
    """samples per upper-level step; None: the task's"""
    upper_rate: float | None = None
    """Adam's step size at the start of its cosine schedule; None: the task's"""
    mesh: str | None = None
    """devices as in sweep=4,data=2: cells are split over sweep, batches over data; None: as
    many devices as can share the cells"""
    raw_dir: Path | None = None
    """folder with original files in mnist/, cifar10/, uci_har/, ptb/; by default downloaded"""
    data_dir: Path | None = None
    """where prepared data sets are kept; None: TFDS's"""
    out: Path | None = None
    """run folder, which must not hold a run yet; None: runs/sweep-TASK-TIME"""

    def check(self) -> None:
        """ValueError unless the grid holds values that a lower level can take, each once."""
        for name in ("etas", "mus", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"expected one or more different {name}, got {list(values)}")
        if self.task == "ptb":
            raise ValueError(
                "expected a task whose samples stand for themselves, got ptb, which goes on from "
                "batch to batch; train.py trains it, one eta at a time"
            )
        if math.inf in self.etas:
            raise ValueError("expected finite etas, got inf; try 1.0")
        for eta, mu in itertools.product(self.etas, self.mus):
            check_ranges(jnp.asarray(eta), jnp.asarray(mu))

    def cells(self) -> list[tuple[float, float, int]]:
        """The grid as (eta, mu, seed), the seed running fastest."""
        return list(itertools.product(self.etas, self.mus, self.seeds))

    def run(self, eta: float, mu: float, seed: int) -> TrainConfig:
        """The single run that a cell stands for."""
        own = {f.name for f in dataclasses.fields(self)} - {"etas", "mus", "seeds", "mesh"}
        options = {name: getattr(self, name) for name in own}
        return TrainConfig(**options, eta=eta, mu=mu, seed=seed, mesh="data=1")


class PreparedSweep(NamedTuple):
    """A configuration that was found good, the run of its first cell, and a model per cell."""

    config: SweepConfig
    first: Prepared
    models: Sequence[nnx.Module]
    mesh: Mesh


class SweepEpoch(NamedTuple):
    """What is known after an epoch, one number per cell."""

    epoch: int
    train_loss: np.ndarray
    validation_loss: np.ndarray
    validation: np.ndarray
    diverged_step: np.ndarray  # the first step without a finite loss; 0 where there was none


def prepare_sweep(config: SweepConfig) -> PreparedSweep:
    """Load the data and draw the models; ValueError for anything wrong, in one sentence."""
    config.check()
    cells = config.cells()
    first = prepare(config.run(*cells[0]))
    shape = {name: getattr(first.task, name) for name in TASK_SHAPE}
    models = [build_model(config.run(*cell), **shape) for cell in cells]
    mesh = _mesh(len(cells)) if config.mesh is None else parse_mesh(config.mesh)
    check_divides(mesh, first.recipe.batch_size)
    _share_of_cells(mesh, len(cells))
    return PreparedSweep(config, first, models, mesh)


def sweep(prepared: PreparedSweep, on_step: OnStep = lambda *_: None) -> Iterator[SweepEpoch]:
    """Train the cells of `prepared` as its configuration says; see `fit_many`."""
    first, recipe = prepared.first, prepared.first.recipe
    num_steps = recipe.epochs * steps_per_epoch(first.task, recipe.batch_size)
    optimizer = default_optimizer(recipe.upper_rate, num_steps, first.config.clip)
    return fit_many(
        prepared.models,
        first.task,
        first.objective,
        optimizer,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        mesh=prepared.mesh,
        on_step=on_step,
    )


def fit_many(
    models: Sequence[nnx.Module],
    task: Task,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    epochs: int,
    batch_size: int,
    seed: int = 0,
    cells_at_once: int | None = None,
    mesh: Mesh | None = None,
    on_step: OnStep = lambda *_: None,
) -> Iterator[SweepEpoch]:
    """Train models of one structure on the same batches, yielding after every epoch.

    The training step is traced and compiled once, whatever the number of models; equal shares of
    them go to the devices along the sweep axis of `mesh`, by default to as many as can share them.
    A model without a finite loss is marked and trained on. `on_step` gets the median of the finite
    losses; the other arguments mean what they mean to `fit`.

    `cells_at_once` models are vmapped together while others wait. By default all, and on CPU one: a
    model's hidden states over the sequence fit its cache, those of thirty took twice the time.

    Raises:
      ValueError: models that differ in more than the values of their variables, or that the devices
        cannot share.
    """
    graphdef, states = _stack(models, optimizer)
    mesh = mesh or _mesh(len(models))
    check_divides(mesh, batch_size)
    share = _share_of_cells(mesh, len(models))
    axis = axis_to_average(mesh)
    # Where devices meet, all cells of a device at once: one all-reduce for all of them.
    at_once = share if axis else _at_once(share, cells_at_once)
    states = put(mesh, PER_MODEL, states)
    over_cells = partial(_over_cells, mesh, at_once)
    step_fn = over_cells(partial(train_step, objective, optimizer, graphdef, axis_name=axis))
    evaluate = over_cells(partial(eval_step, objective, graphdef, axis_name=axis))
    batches = training_batches(task.train, batch_size, seed=seed)
    num_steps = steps_per_epoch(task, batch_size)
    diverged_step = np.zeros(len(models), int)
    for epoch in range(1, epochs + 1):
        total = np.zeros(len(models))
        for step in range((epoch - 1) * num_steps + 1, epoch * num_steps + 1):
            states, device_losses = step_fn(states, next(batches))
            losses = np.asarray(device_losses)
            total += losses
            diverged_step = _first_divergence(diverged_step, step, losses)
            on_step(step, _median(losses[np.isfinite(losses)]))
        totals = [evaluate(states, b)[0] for b in evaluation_batches(task.validation, batch_size)]
        loss, metric, num_samples = (np.sum(column, axis=0) for column in zip(*totals, strict=True))
        diverged_step = _first_divergence(diverged_step, epoch * num_steps, loss)
        means = total / num_steps, loss / num_samples, metric / num_samples
        yield SweepEpoch(epoch, *means, diverged_step)


def _stack(
    models: Sequence[nnx.Module], optimizer: optax.GradientTransformation
) -> tuple[GraphDef, TrainState]:
    graphdefs, states = zip(*(init_state(model, optimizer) for model in models), strict=True)
    if any(graphdef != graphdefs[0] for graphdef in graphdefs):
        raise ValueError(
            "expected models that differ in the values of their variables alone, got different "
            "structures; sweep over solvers, widths and operators one by one"
        )
    stack = jax.jit(lambda *trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees))
    return graphdefs[0], stack(*states)


def _mesh(num_cells: int) -> Mesh:
    return make_mesh(sweep=_divisor(num_cells, jax.local_device_count()), data=1)


def _share_of_cells(mesh: Mesh, num_cells: int) -> int:
    if num_cells % mesh.shape[SWEEP]:
        raise ValueError(
            f"expected cells that {mesh.shape[SWEEP]} devices can share, got {num_cells}; try "
            f"--mesh sweep={_divisor(num_cells, mesh.shape[SWEEP])}"
        )
    return num_cells // mesh.shape[SWEEP]


def _at_once(share: int, asked: int | None) -> int:
    default = 1 if jax.default_backend() == "cpu" else share
    return _divisor(share, default if asked is None else asked)


def _divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is at most `limit`."""
    return max(n for n in range(1, min(number, limit) + 1) if number % n == 0)


def _over_cells(mesh: Mesh, at_once: int, step: Callable[[TrainState, Any], Any]) -> Callable:
    """``step(state, batch)`` for stacked states and one batch, compiled once."""

    def share(states: TrainState, batch: Any) -> Any:
        return jax.lax.map(lambda state: step(state, batch), states, batch_size=at_once)

    # As in `over_samples`, nothing tracks what varies over the mesh.
    spread = partial(jax.shard_map, mesh=mesh, out_specs=PER_MODEL, check_vma=False)
    return jax.jit(spread(share, in_specs=(PER_MODEL, PER_SAMPLE)))


def _first_divergence(known: np.ndarray, step: int, losses: np.ndarray) -> np.ndarray:
    return np.where((known == 0) & ~np.isfinite(losses), step, known)


def _median(losses: np.ndarray) -> float:
    return float(np.median(losses)) if losses.size else math.nan


def cell_reports(prepared: PreparedSweep, epochs: Sequence[SweepEpoch]) -> list[dict[str, Any]]:
    """What is known of every cell, JSON-able; a diverged one has no final value.

    `curve` has its epochs before it diverged, as the lines of a run's metrics.jsonl. `eta_L` is eta
    times the bound L at the initial parameters, None for an energy without a bound.
    """
    objective = prepared.first.objective
    pick = max if objective.higher_is_better else min
    lines = []
    for index, (eta, mu, seed) in enumerate(prepared.config.cells()):
        curve = [_line(epoch, index) for epoch in epochs if not epoch.diverged_step[index]]
        best = pick(curve, key=lambda line: line["validation"], default=None)
        step = int(epochs[-1].diverged_step[index]) or None if epochs else None
        bound = lower_report(prepared.models[index]).bound
        line: dict[str, Any] = {"eta": eta, "mu": mu, "seed": seed}
        line |= {"eta_L": bound and eta / bound, "metric": objective.metric_name}
        line |= {"final": curve[-1]["validation"] if curve and step is None else None}
        line |= {"best": best and best["validation"], "best_epoch": best and best["epoch"]}
        line |= {"diverged": step is not None, "diverged_step": step}
        lines.append(line | {"diverged_epoch": step and len(curve) + 1, "curve": curve})
    return lines


def _line(epoch: SweepEpoch, index: int) -> dict[str, Any]:
    names = ("train_loss", "validation_loss", "validation")
    return {"epoch": epoch.epoch} | {name: float(getattr(epoch, name)[index]) for name in names}
