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
    make_mesh,
    platform,
    put,
)
from ..tasks._types import Task
from ..tasks.loader import evaluation_batches, training_batches
from .fit import BetweenBatches, steps_per_epoch
from .losses import OnStep
from .method import GraphDef, Method, TrainState
from .objectives import Objective
from .step import eval_step, init_state


class SweepEpoch(NamedTuple):
    """What is known after an epoch, one number per cell."""

    epoch: int
    train_loss: np.ndarray
    validation_loss: np.ndarray
    validation: np.ndarray
    diverged_step: np.ndarray  # the first step without a finite loss or score; 0 where none was


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
    on_step: OnStep = lambda *_: None,
    between_batches: BetweenBatches = lambda: None,
) -> Iterator[SweepEpoch]:
    """Train models of one structure on the same batches, yielding after every epoch.

    The training step is traced and compiled once, whatever the number of models; equal shares of
    them go to the devices along the sweep axis of `mesh`, by default to as many as can share them.
    A model without a finite loss or score is marked and trained on. `on_step` gets the median of
    the finite losses; the other arguments mean what they mean to `fit`.

    `cells_at_once` models are vmapped together while others wait. By default all, and on CPU one: a
    model's hidden states over the sequence fit its cache, those of thirty took twice the time.

    Raises:
      ValueError: models that differ in more than the values of their variables, or that the devices
        cannot share.
    """
    graphdef, states = stack(models, method)
    mesh = mesh or sweep_mesh(len(models))
    check_divides(mesh, batch_size)
    spread = partial(over_cells, mesh, len(models), cells_at_once)
    states = put(mesh, PER_MODEL, states)
    step_fn = spread(partial(method.step, objective, graphdef))
    evaluate = spread(partial(eval_step, objective, graphdef))
    batches = training_batches(task.train, batch_size, seed=seed)
    num_steps = steps_per_epoch(task, batch_size)
    diverged_step = np.zeros(len(models), int)
    for epoch in range(1, epochs + 1):
        total = np.zeros(len(models))
        for step in range((epoch - 1) * num_steps + 1, epoch * num_steps + 1):
            states, infos = step_fn(states, next(batches))
            losses = np.asarray(infos.loss)
            total += losses
            diverged_step = _first_divergence(diverged_step, step, losses)
            on_step(step, _median(losses[np.isfinite(losses)]))
        totals = []
        for batch in evaluation_batches(task.validation, batch_size):
            between_batches()
            totals.append(evaluate(states, batch)[0])
        loss, metric, num_samples = (np.sum(column, axis=0) for column in zip(*totals, strict=True))
        means = total / num_steps, loss / num_samples, metric / num_samples
        for values in means:
            diverged_step = _first_divergence(diverged_step, epoch * num_steps, values)
        yield SweepEpoch(epoch, *means, diverged_step)


def stack(models: Sequence[nnx.Module], method: Method) -> tuple[GraphDef, TrainState]:
    """What the models share, and their states before the first step along an axis of cells.

    Raises:
      ValueError: models that differ in more than the values of their variables.
    """
    graphdefs, states = zip(*(init_state(model, method) for model in models), strict=True)
    if any(graphdef != graphdefs[0] for graphdef in graphdefs):
        raise ValueError(
            "expected models that differ in the values of their variables alone, got different "
            "structures; sweep over solvers, widths and operators one by one"
        )
    stacked = jax.jit(lambda *trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees))
    return graphdefs[0], stacked(*states)


def sweep_mesh(num_cells: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """As many devices as can share the cells, of these or of this process's."""
    devices = jax.local_devices() if devices is None else devices
    return make_mesh(sweep=_divisor(num_cells, len(devices)), data=1, devices=devices)


def share_of_cells(mesh: Mesh, num_cells: int) -> int:
    if num_cells % mesh.shape[SWEEP]:
        raise ValueError(
            f"expected cells that {mesh.shape[SWEEP]} devices can share, got {num_cells}; try "
            f"--mesh sweep={_divisor(num_cells, mesh.shape[SWEEP])}"
        )
    return num_cells // mesh.shape[SWEEP]


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
