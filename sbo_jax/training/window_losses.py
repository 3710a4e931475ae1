"""The loss of every window of a text, where the mean over all of them is not enough."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from ..devices.mesh import PER_SAMPLE, Places, compiled, gathered, local, own_share, put
from ..tasks._types import Batch, Source
from ..tasks.loader import evaluation_batches
from .fit import BetweenBatches
from .method import STATE_PLACES, Carry, GraphDef, TrainState
from .objectives import Objective
from .step import put_fresh, read_evaluated


class WindowLosses(NamedTuple):
    """Of U windows the metric summed over their steps [U], and the steps that count [U]."""

    sums: np.ndarray
    counts: np.ndarray


class _Sums(NamedTuple):
    """The same of a batch, on devices."""

    sums: Float[Array, " windows"]
    counts: Float[Array, " windows"]


_PER_WINDOW = Places(STATE_PLACES, (PER_SAMPLE, PER_SAMPLE))


def window_losses(
    objective: Objective,
    graphdef: GraphDef,
    state: TrainState,
    source: Source,
    batch_size: int,
    mesh: Mesh,
    between_batches: BetweenBatches = lambda: None,
) -> WindowLosses:
    """In the order of `evaluation_batches`, without those of padding alone; dropout is off.

    The sum of `sums` over that of `counts` is the mean of which `Evaluator` reports what the
    objective reports.
    """
    sums_of = compiled(mesh, _PER_WINDOW, _window_sums, objective, graphdef)
    state, parts = put_fresh(mesh, graphdef, state, batch_size), []
    for batch in evaluation_batches(source, batch_size, own_share()):
        between_batches()
        added, carry = sums_of(state, put(mesh, PER_SAMPLE, batch))
        state = state._replace(carry=carry)
        parts.append(np.asarray(local(gathered(mesh, added)), np.float64))
    sums, counts = np.concatenate(parts, axis=-1)
    return WindowLosses(sums[counts > 0], counts[counts > 0])


def _window_sums(
    objective: Objective,
    graphdef: GraphDef,
    state: TrainState,
    batch: Batch,
    *,
    axis_name: str | None = None,
) -> tuple[_Sums, Carry]:
    del axis_name  # windows are not averaged
    carry, predictions = read_evaluated(graphdef, state, batch)
    weights = jnp.asarray(batch.weights)
    values = weights * objective.metric(predictions, batch.targets)
    return _Sums(jnp.sum(values, axis=-1), jnp.sum(weights, axis=-1)), carry
