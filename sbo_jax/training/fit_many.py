"""`fit` for many models of one structure at once.

Models that differ only in the values of their variables share a graphdef: their states are stacked
along an axis of cells, and one compiled step moves all of them. Nothing passes between cells: one
that diverges harms no other.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from ..devices.mesh import (
    PER_MODEL,
    PER_SAMPLE,
    SWEEP,
    axis_to_average,
    check_divides,
    gathered,
    local,
    make_mesh,
    own_entries,
    platform,
    put_whole,
)
from ..devices.processes import from_all
from ..devices.waiting import wait_for
from ..tasks._types import Batch, Task
from ..tasks.loader import evaluation_batches, training_batches
from .fit import BetweenBatches, steps_per_epoch
from .losses import STEPS_PER_LOOK, OnStep
from .method import GraphDef, Method, TrainState
from .objectives import Objective
from .step import Carries, Totals, eval_step, init_state


class SweepEpoch(NamedTuple):
    """What is known after an epoch, one number per cell.

    ``states()`` are the states of all cells, stacked; several processes call it together. An epoch
    keeps them on the devices.
    """

    epoch: int
    train_loss: np.ndarray
    validation_loss: np.ndarray
    validation: np.ndarray
    diverged_step: np.ndarray  # the first step without a finite loss or score; 0 where none was
    states: Callable[[], TrainState] | None = None


# Those of a `SweepEpoch` that have a number per cell.
COLUMNS = ("train_loss", "validation_loss", "validation", "diverged_step")


def fit_many(
    models: Sequence[nnx.Module],
    task: Task,
    objective: Objective,
    method: Method,
    *,
    epochs: int,
    batch_size: int,
    seed: int = 0,
    cells_at_once: int | None = None,
    mesh: Mesh | None = None,
    start: SweepEpoch | None = None,
    on_step: OnStep = lambda *_: None,
    between_batches: BetweenBatches = lambda: None,
) -> Iterator[SweepEpoch]:
    """Train models of one structure on the same batches, yielding after every epoch.

    The training step is traced and compiled once, whatever the number of models; equal shares of
    them go to the devices along the sweep axis of `mesh`, by default to all, filled up with copies
    of the last model. A model without a finite loss or score is marked and trained on. Training
    goes on after the epoch `start`, if any, as if it had never stopped. `on_step` gets the median
    of the finite losses in this process; the other arguments mean what they mean to `fit`.

    `cells_at_once` models are vmapped together while others wait. By default all, and on CPU one: a
    model's hidden states over the sequence fit its cache, those of thirty took twice the time.

    Raises:
      ValueError: models that differ in more than the values of their variables, or that carry
        sequences from batch to batch.
    """
    graphdef, states = stack(models, method)
    cells = _Cells(mesh or sweep_mesh(len(models)), len(models))
    check_divides(cells.mesh, batch_size)
    spread = partial(over_cells, cells.mesh, len(models), cells_at_once)
    step_fn = spread(partial(method.step, objective, graphdef))
    evaluate = spread(partial(eval_step, objective, graphdef))
    first, diverged = 0, cells.own(np.zeros(len(models), int))
    if start is not None and start.states is not None:
        first, diverged, states = start.epoch, cells.own(start.diverged_step), start.states()
    states, num_steps = cells.put(states), steps_per_epoch(task, batch_size)
    batches = training_batches(task.train, batch_size, seed=seed, start=first * num_steps)
    for epoch in range(first + 1, epochs + 1):
        total = np.zeros(len(diverged))
        for step in range((epoch - 1) * num_steps + 1, epoch * num_steps + 1):
            states, infos = step_fn(states, cells.put_batch(next(batches)))
            losses = cells.own_of(wait_for(f"training step {step}", infos.loss))
            total += losses
            diverged = _first_divergence(diverged, step, losses)
            on_step(step, _median(losses[np.isfinite(losses)]))
        kept = method.kept(states)
        loss, metric = _validated(cells, evaluate, kept, task, batch_size, between_batches)
        means = total / num_steps, loss, np.asarray([*map(objective.reported, metric.tolist())])
        for values in means:
            diverged = _first_divergence(diverged, epoch * num_steps, values)
        known = dict(zip(COLUMNS, cells.everywhere(*means, diverged), strict=True))
        yield SweepEpoch(epoch=epoch, states=partial(cells.whole, states), **known)


def _validated(
    cells: "_Cells",
    evaluate: Callable[[TrainState, Batch], Any],
    states: TrainState,
    task: Task,
    batch_size: int,
    between_batches: BetweenBatches,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean loss and metric of this process's cells on the validation split."""
    added: list[Totals] = []
    for batch in evaluation_batches(task.validation, batch_size):
        between_batches()
        added.append(evaluate(states, cells.put_batch(batch))[0])
        if len(added) % STEPS_PER_LOOK == 0:  # bounds the batches that wait on the devices
            wait_for(f"evaluation of batch {len(added)}", added[-1])
    columns = (map(cells.own_of, column) for column in zip(*added, strict=True))
    loss, metric, num_samples = (np.sum(list(column), axis=0) for column in columns)
    return loss / num_samples, metric / num_samples


class _Cells:
    """Where the cells of a sweep are: a share on every device, copies of the last to fill it up."""

    def __init__(self, mesh: Mesh, count: int):
        self.mesh, self.share = mesh, share_of_cells(mesh, count)
        self._count, places = count, np.arange(self.share * mesh.shape[SWEEP], dtype=np.int32)
        self._sources = np.minimum(places, count - 1)
        here = own_entries(put_whole(mesh, PER_MODEL, places))
        self._own = here[here < count]

    def put(self, states: TrainState) -> TrainState:
        """Stacked states, on their devices."""
        if len(self._sources) > self._count:
            states = jax.tree.map(lambda leaf: leaf[self._sources], states)
        return put_whole(self.mesh, PER_MODEL, states)

    def put_batch(self, batch: Batch) -> Batch:
        return put_whole(self.mesh, PER_SAMPLE, batch)

    def whole(self, states: TrainState) -> TrainState:
        """Stacked states, in every process."""
        states = local(gathered(self.mesh, states))
        if len(self._sources) > self._count:
            states = jax.tree.map(lambda leaf: leaf[: self._count], states)
        return states

    def own(self, values: np.ndarray) -> np.ndarray:
        """Of one number per cell those of this process."""
        return values[self._own]

    def own_of(self, array: jax.Array) -> np.ndarray:
        """The same of an array on the devices."""
        return own_entries(array)[: len(self._own)]

    def everywhere(self, *columns: np.ndarray) -> list[np.ndarray]:
        """From columns of this process's cells to columns of all cells, in every process."""
        parts = from_all((self._own, columns))
        every = [np.zeros(self._count, column.dtype) for column in columns]
        for rows, part in parts:
            for column, values in zip(every, part, strict=True):
                column[rows] = values
        return every


def stack(models: Sequence[nnx.Module], method: Method) -> tuple[GraphDef, TrainState]:
    """The static half that all models share, and their states before the first step, stacked.

    Raises:
      ValueError: models that differ in more than the values of their variables, or that carry
        sequences from batch to batch.
    """
    if any(isinstance(model, Carries) for model in models):
        raise ValueError(
            "expected models that read each sequence from its start, got one that carries "
            "sequences from batch to batch; train them one by one with fit"
        )
    graphdefs, states = zip(*(init_state(model, method) for model in models), strict=True)
    if any(graphdef != graphdefs[0] for graphdef in graphdefs):
        raise ValueError(
            "expected models that differ in the values of their variables alone, got different "
            "structures; sweep over solvers, widths and operators one by one"
        )
    return graphdefs[0], _stacked(*states)


@jax.jit
def _stacked(*trees: TrainState) -> TrainState:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def sweep_mesh(num_cells: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """As many devices as there are cells; of several processes all, each of which takes part."""
    devices = jax.devices() if devices is None else devices
    count = len(devices) if jax.process_count() > 1 else min(num_cells, len(devices))
    return make_mesh(sweep=count, data=1, devices=devices)


def share_of_cells(mesh: Mesh, num_cells: int) -> int:
    """How many cells a device has at most."""
    return -(-num_cells // mesh.shape[SWEEP])


def _at_once(mesh: Mesh, share: int, asked: int | None) -> int:
    default = 1 if platform(mesh) == "cpu" else share
    return _divisor(share, default if asked is None else asked)


def _divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is at most `limit`."""
    return max(n for n in range(1, min(number, limit) + 1) if number % n == 0)


def over_cells(
    mesh: Mesh, num_cells: int, cells_at_once: int | None, step: Callable[..., Any]
) -> Callable[..., Any]:
    """``step(state, batch, axis_name=axis)`` for stacked states and one batch, compiled once."""
    cells, axis = share_of_cells(mesh, num_cells), axis_to_average(mesh)
    # Where devices meet, all cells of a device at once: one all-reduce for all of them.
    at_once = cells if axis else _at_once(mesh, cells, cells_at_once)
    own = partial(step, axis_name=axis)

    def share(states: TrainState, batch: Any) -> Any:
        return jax.lax.map(lambda state: own(state, batch), states, batch_size=at_once)

    # As in `over_samples`, nothing tracks what varies over the mesh.
    spread = partial(jax.shard_map, mesh=mesh, out_specs=PER_MODEL, check_vma=False)
    return jax.jit(spread(share, in_specs=(PER_MODEL, PER_SAMPLE)))


def _first_divergence(known: np.ndarray, step: int, losses: np.ndarray) -> np.ndarray:
    return np.where((known == 0) & ~np.isfinite(losses), step, known)


def _median(losses: np.ndarray) -> float:
    return float(np.median(losses)) if losses.size else math.nan
