"""The exponential moving average of the parameters, which stands for them in what is kept."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from .._checks import in_float32
from .._types import ScalarArray
from ..tasks._types import Batch
from .method import GraphDef, Method, MethodState, Params, TrainState, UpperInfo
from .objectives import Objective


class AveragedState(NamedTuple):
    """What the method carries, the steps so far, and the average of the parameters.

    Numbers of less than 32 bits are averaged in 32: a step's share of them would round to nothing.
    """

    inner: MethodState
    num_steps: Int[Array, ""]
    average: Params


def averaged(method: Method, decay: float, after: int = 0) -> Method:
    """`method`, whose model is ``sum_t decay^(T-t) theta_t / sum_t decay^(T-t)``, t > `after`.

    It is `optax.ema` with its bias corrected, and theta_T itself up to step `after` + 1. Training
    goes on from theta_T: the average changes which model is judged and kept, and no step.

    Args:
      method: moves the parameters.
      decay: in (0, 1); ``1 / (1 - decay)`` steps are in the average.
      after: steps that are left out, as those of a warm-up.

    Raises:
      ValueError: another decay, also where float32 rounds it to 0 or 1.
    """
    if not 0 < in_float32(decay) < 1:
        raise ValueError(f"expected 0 < decay < 1, got {decay:g}; try 0.99")

    def init(params: Params) -> AveragedState:
        average = jax.tree.map(lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32)), params)
        return AveragedState(method.init(params), jnp.zeros((), jnp.int32), average)

    def step(
        objective: Objective,
        graphdef: GraphDef,
        state: TrainState,
        batch: Batch,
        *,
        axis_name: str | None = None,
    ) -> tuple[TrainState, UpperInfo]:
        inner, num_steps, average = state.method_state
        own = state._replace(method_state=inner)
        new, info = method.step(objective, graphdef, own, batch, axis_name=axis_name)
        weight = _weight(num_steps + 1 - after, decay)
        newest = optax.tree.cast_like(new.params, average)
        average = optax.incremental_update(newest, average, weight)
        carried = AveragedState(new.method_state, num_steps + 1, average)
        return new._replace(method_state=carried), info

    return Method(init, step, kept=_with_average)


def _weight(count: Int[Array, ""], decay: float) -> ScalarArray:
    """``(1 - decay) / (1 - decay^count)``, of the newest of so many parameters; 1 before there are.

    As a weight, and not as a division of the sum at the end, where rounding of ``1 - decay^count``
    would scale all parameters.
    """
    powers = -jnp.expm1(jnp.maximum(count, 1) * math.log(decay))
    return jnp.where(count <= 1, 1.0, (1 - decay) / powers)


def _with_average(state: TrainState) -> TrainState:
    return state._replace(params=optax.tree.cast_like(state.method_state.average, state.params))
