"""The upper level as pure functions: one step on the parameters, one look at a batch.

The static half of the model, its `graphdef`, is an argument of its own, so that jit, vmap and
shard_map see arrays only.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float

from .._types import ScalarArray
from .._varying import vary, varying_axes
from ..devices.mesh import PER_SAMPLE, REPLICATED, Places, gathered, local, put, put_whole
from ..tasks._types import Batch
from .method import STATE_PLACES, Carry, GraphDef, Method, Params, Rest, TrainState, UpperInfo
from .objectives import Objective


class Totals(NamedTuple):
    """Sums over non-padding samples or steps; divide by `num_samples` for means."""

    loss: Float[Array, ""]
    metric: Float[Array, ""]
    num_samples: Float[Array, ""]


@runtime_checkable
class Carries(Protocol):
    """A model of sequences that go on from batch to batch, as `SequenceLanguageModel`."""

    def initialize_carry(self, batch_size: int) -> Carry: ...


def init_state(
    model: nnx.Module,
    method: Method,
    batch_size: int | None = None,
) -> tuple[GraphDef, TrainState]:
    """Split a model into its static half and the state that training carries.

    Raises:
      ValueError: a model that `Carries` without `batch_size`, which others do not need.
    """
    graphdef, *states = nnx.split(model, nnx.Param, ...)
    params, rest = states
    carry = initial_carry(model, batch_size)
    return graphdef, TrainState(params, rest, method.init(params), carry)


def initial_carry(model: nnx.Module, batch_size: int | None) -> Carry:
    """The carry before the first batch; None for a model that begins anew with every one."""
    if not isinstance(model, Carries):
        return None
    if batch_size is None:
        raise ValueError("expected a batch size for a model that carries sequences, got none")
    return model.initialize_carry(batch_size)


def put_state(mesh: Mesh, state: TrainState) -> TrainState:
    """A state on the mesh, which every process hands in whole."""
    carry = put_whole(mesh, PER_SAMPLE, state.carry)
    return put(mesh, REPLICATED, state._replace(carry=None))._replace(carry=carry)


def put_fresh(mesh: Mesh, graphdef: GraphDef, state: TrainState, batch_size: int) -> TrainState:
    """A state on the mesh with the carry before the first batch."""
    carry = initial_carry(merge(graphdef, state), batch_size)
    return put_state(mesh, state._replace(carry=carry))


def whole_state(mesh: Mesh, state: TrainState) -> TrainState:
    """A state from the mesh, on one device of this process; all processes call this together."""
    return local(state._replace(carry=gathered(mesh, state.carry)))


def merge(graphdef: GraphDef, state: TrainState) -> Any:
    """The model at `state`, a copy of its own."""
    return nnx.merge(graphdef, state.params, state.rest, copy=True)


def loss(
    objective: Objective,
    graphdef: GraphDef,
    params: Params,
    rest: Rest,
    batch: Batch,
    carry: Carry = None,
) -> tuple[ScalarArray, tuple[Rest, Carry]]:
    """Mean over a batch of ``weight * loss``, which a mean of the weights makes the mean loss.

    Also the model's other state (random streams move on) and the carry after it.
    """
    model = nnx.merge(graphdef, params, rest, copy=True)
    carry, predictions = read(model, batch, carry)
    value = jnp.mean(batch.weights * objective.loss(predictions, batch.targets))
    return value, (nnx.state(model, nnx.Not(nnx.Param)), carry)


def read(model: Any, batch: Batch, carry: Carry) -> tuple[Carry, Array]:
    """The carry after a batch, and the predictions for it."""
    options = {} if batch.lengths is None else {"seq_lengths": batch.lengths}
    if carry is None:
        return None, model(batch.inputs, **options)
    return model(batch.inputs, initial_carry=carry, return_carry=True, **options)


def read_evaluated(graphdef: GraphDef, state: TrainState, batch: Batch) -> tuple[Carry, Array]:
    """`read` by the model at `state`, dropout off."""
    model = merge(graphdef, state)
    model.eval()
    return read(model, batch, state.carry)


def check_equal_lengths(batch: Batch) -> None:
    """ValueError for lengths, or weights of steps, of which a method would know nothing."""
    if batch.lengths is not None or jnp.ndim(batch.weights) > 1:
        what = "weights of every step" if batch.lengths is None else "sequences of unequal lengths"
        raise ValueError(f"expected whole sequences, a weight each, got {what}; try bptt")


def bptt(optimizer: optax.GradientTransformation) -> Method:
    """Back-propagation through time: one step of `optimizer` on the loss of a batch.

    With an axis name, loss and gradient are averaged over that axis of the mesh in one all-reduce,
    and random streams differ from device to device.
    """

    def step(
        objective: Objective,
        graphdef: GraphDef,
        state: TrainState,
        batch: Batch,
        *,
        axis_name: str | None = None,
    ) -> tuple[TrainState, UpperInfo]:
        value_and_grad = jax.value_and_grad(loss, argnums=2, has_aux=True)
        own, shared = _own_streams(state.rest, axis_name)
        params = vary(state.params, varying_axes(batch))  # or shard_map sums what is averaged here
        (value, (rest, carry)), gradient = value_and_grad(
            objective, graphdef, params, own, batch, state.carry
        )
        weight = jnp.mean(batch.weights)
        if axis_name is not None:
            value, gradient, weight = jax.lax.pmean((value, gradient, weight), axis_name)
        weight = jnp.where(weight > 0, weight, 1)  # of a batch without labels: nothing to learn
        value, gradient = jax.tree.map(lambda x: x / weight.astype(x.dtype), (value, gradient))
        updates, moments = optimizer.update(gradient, state.method_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, shared(rest), moments, carry), UpperInfo(value, {})

    return Method(optimizer.init, step)


OF_EVALUATION = Places(STATE_PLACES, (REPLICATED, PER_SAMPLE))


def eval_step(
    objective: Objective,
    graphdef: GraphDef,
    state: TrainState,
    batch: Batch,
    *,
    axis_name: str | None = None,
) -> tuple[Totals, Carry]:
    """Loss and metric summed over the non-padding part of `batch`, and the carry after it.

    Dropout is off. With `axis_name`, the sums are over the shares of all devices along that axis of
    the mesh, and the carry is this device's.
    """
    carry, predictions = read_evaluated(graphdef, state, batch)
    weights = jnp.asarray(batch.weights)
    totals = Totals(
        jnp.sum(weights * objective.loss(predictions, batch.targets)),
        jnp.sum(weights * objective.metric(predictions, batch.targets)),
        jnp.sum(weights),
    )
    if axis_name is not None:
        totals = jax.lax.psum(totals, axis_name)
    return totals, carry


def own_key(key: Array, axis_name: str | None) -> Array:
    """A key that no other device along the axis has; without an axis the key itself."""
    return key if axis_name is None else jax.random.fold_in(key, jax.lax.axis_index(axis_name))


def _own_streams(rest: Rest, axis_name: str | None) -> tuple[Rest, Callable[[Rest], Rest]]:
    """Random streams of this device's own, and the way back to those that all devices share."""
    if axis_name is None:
        return rest, lambda rest: rest

    def is_key(leaf: Array) -> bool:
        return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)

    def fold(leaf: Array) -> Array:
        return own_key(leaf, axis_name) if is_key(leaf) else leaf

    def shared(after: Rest) -> Rest:
        return jax.tree.map(lambda new, old: old if is_key(old) else new, after, rest)

    return jax.tree.map(fold, rest), shared
