"""The programs that a run or a sweep will compile, from shapes alone."""

from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..devices.mesh import PER_MODEL, PER_SAMPLE, SWEEP, axis_to_average, compiled
from ..runs.preparation import Prepared
from ..runs.sweep import PreparedSweep
from ..tasks._types import Batch, Source
from ..tasks.loader import training_batches
from ..tasks.sources.sequences import SequenceSource
from ..training.fit_many import over_cells, share_of_cells, stack
from ..training.method import OF_STEP
from ..training.step import OF_EVALUATION, eval_step

# A relaxed step averages residuals, a gradient or moments, and a report, one after the other.
_RELAXED = 8


class Meetings(NamedTuple):
    """How often devices may meet outside of loops; and passes of a loop in which they may."""

    fewest: int
    most: int
    rounds: int | None = None


class Program(NamedTuple):
    """A compiled step of a run, arrays that stand for its arguments, how devices may meet in it.

    ``arguments`` has the abstract arrays by name, each with the devices it will lie on.
    """

    name: str
    step: Any
    state: Any
    batch: Batch
    meetings: Meetings

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The parts of state and batch by name."""
        return MappingProxyType(self.state._asdict() | self.batch._asdict())


def programs(prepared: Prepared) -> Iterator[Program]:
    """The training step and the evaluation step of a run."""
    graphdef, state = prepared.init()
    mesh, objective, task = prepared.mesh, prepared.objective, prepared.task
    shaped = partial(_shaped, mesh)
    size = prepared.recipe.batch_size
    for name, places, step, source, meetings in (
        ("training step", OF_STEP, prepared.method.step, task.train, _training(prepared)),
        ("evaluation step", OF_EVALUATION, eval_step, task.validation, _once(mesh)),
    ):
        batch = shaped(PER_SAMPLE, batch_like(source, size))
        run = compiled(mesh, places, step, objective, graphdef)
        yield Program(name, run, shaped(places.state, state), batch, meetings)


def sweep_programs(prepared: PreparedSweep) -> Iterator[Program]:
    """The training step and the evaluation step of all cells of a sweep."""
    method, first, mesh = prepared.method, prepared.first, prepared.mesh
    count, models = len(prepared.models), list(prepared.models)
    copies = share_of_cells(mesh, count) * mesh.shape[SWEEP] - count
    graphdef, states = stack(models + models[-1:] * copies, method)
    spread = partial(over_cells, mesh, count, None)
    for name, step, source in (
        ("training step", method.step, first.task.train),
        ("evaluation step", eval_step, first.task.validation),
    ):
        batch = _shaped(mesh, PER_SAMPLE, batch_like(source, first.recipe.batch_size))
        run = spread(partial(step, first.objective, graphdef))
        yield Program(name, run, _shaped(mesh, PER_MODEL, states), batch, _once(mesh))


def batch_like(source: Source, size: int) -> Batch:
    """A batch of so many samples as abstract arrays, of the longest sequences of `source`."""
    if isinstance(source, SequenceSource):
        one = source.batch(np.zeros(1, int), source.buckets[-1])
    else:
        one = next(training_batches(source, 1, seed=0))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype), one)


def _shaped(mesh: Mesh, places: Any, tree: Any) -> Any:
    """Abstract arrays, each on its place of the mesh."""

    def shaped(spec: PartitionSpec, part: Any) -> Any:
        sharding = NamedSharding(mesh, spec)
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), part
        )

    return jax.tree.map(shaped, places, tree, is_leaf=lambda x: isinstance(x, PartitionSpec))


def _once(mesh: Mesh) -> Meetings:
    """Devices that share batches meet once; others, and those of a sweep alone, never."""
    count = 0 if axis_to_average(mesh) is None else 1
    return Meetings(count, count)


def _training(prepared: Prepared) -> Meetings:
    chosen, once = prepared.config.method, _once(prepared.mesh)
    if chosen.training == "bptt" or not once.most:
        return once
    rounds = (chosen.rounds or 3) - 1 if chosen.training == "lagrangian" else None
    return Meetings(1, _RELAXED, rounds)
