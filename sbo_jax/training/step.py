"""The upper level as pure functions: one step on the parameters, one look at a batch.

As the lower level hands a `LowerCarry` from input to input, the upper level hands a `TrainState`
from batch to batch; both are moved by an `optax.GradientTransformation`. The static half of the
model, its `graphdef`, is an argument of its own, so that jit, vmap and shard_map see arrays only.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float

from ..relaxations import Relaxation
from ..tasks import Batch
from .objectives import Objective

GraphDef: TypeAlias = Any
Params: TypeAlias = Any


class TrainState(NamedTuple):
    """What one upper-level step hands to the next.

    ``params`` are trained; ``rest`` is all other state of the model: fixed hyper-parameters of the
    lower level, random streams.
    """

    params: Params
    rest: Any
    optimizer_state: optax.OptState


class Totals(NamedTuple):
    """Sums over samples that are no padding; divided by their number they are means."""

    loss: Float[Array, ""]
    metric: Float[Array, ""]
    num_samples: Float[Array, ""]


def init_state(
    model: nnx.Module, optimizer: optax.GradientTransformation | Relaxation
) -> tuple[GraphDef, TrainState]:
    """Split a model into its static half and the state that training carries."""
    graphdef, *states = nnx.split(model, nnx.Param, ...)
    params, rest = states
    return graphdef, TrainState(params, rest, optimizer.init(params))


def merge(graphdef: GraphDef, state: TrainState) -> Any:
    """The model at `state`, a copy of its own."""
    return nnx.merge(graphdef, state.params, state.rest, copy=True)


def loss(
    objective: Objective, graphdef: GraphDef, params: Params, rest: Any, batch: Batch
) -> tuple[Float[Array, ""], Any]:
    """Mean loss of a batch, and the model's other state after it (random streams move on)."""
    model = nnx.merge(graphdef, params, rest, copy=True)
    value = jnp.mean(objective.loss(model(batch.inputs), batch.targets))
    return value, nnx.state(model, nnx.Not(nnx.Param))


def train_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    graphdef: GraphDef,
    state: TrainState,
    batch: Batch,
    *,
    axis_name: str | None = None,
) -> tuple[TrainState, Float[Array, ""]]:
    """One step of `optimizer` on the loss of `batch`; returns the loss before the step.

    With `axis_name`, `batch` is a device's share: loss and gradient are averaged over that axis of
    the mesh in one all-reduce, and random streams differ from device to device.
    """
    value_and_grad = jax.value_and_grad(loss, argnums=2, has_aux=True)
    own, shared = _own_streams(state.rest, axis_name)
    (value, rest), gradient = value_and_grad(objective, graphdef, state.params, own, batch)
    rest = shared(rest)
    if axis_name is not None:
        value, gradient = jax.lax.pmean((value, gradient), axis_name)
    updates, optimizer_state = optimizer.update(gradient, state.optimizer_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(params, rest, optimizer_state), value


def eval_step(
    objective: Objective,
    graphdef: GraphDef,
    state: TrainState,
    batch: Batch,
    *,
    axis_name: str | None = None,
) -> Totals:
    """Loss and metric summed over the samples of `batch` that are no padding; dropout is off.

    With `axis_name`, summed over the shares of all devices along that axis of the mesh.
    """
    model = merge(graphdef, state)
    model.eval()
    predictions = model(batch.inputs)
    weights = jnp.asarray(batch.weights)
    totals = Totals(
        jnp.sum(weights * objective.loss(predictions, batch.targets)),
        jnp.sum(weights * objective.metric(predictions, batch.targets)),
        jnp.sum(weights),
    )
    return totals if axis_name is None else jax.lax.psum(totals, axis_name)


def _own_streams(rest: Any, axis_name: str | None) -> tuple[Any, Callable[[Any], Any]]:
    """Random streams of this device's own, and the way back to those that all devices share."""
    if axis_name is None:
        return rest, lambda rest: rest
    index = jax.lax.axis_index(axis_name)

    def is_key(leaf: Any) -> bool:
        return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)

    def fold(leaf: Any) -> Any:
        return jax.random.fold_in(leaf, index) if is_key(leaf) else leaf

    def shared(after: Any) -> Any:
        return jax.tree.map(lambda new, old: old if is_key(old) else new, after, rest)

    return jax.tree.map(fold, rest), shared
