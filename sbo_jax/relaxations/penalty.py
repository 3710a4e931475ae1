"""``l(h_T, y) + sum_t lam/2 ||h_t - f(h_{t-1}, x_t)||^2``, states and parameters in turn."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from .._types import InputSequence
from .network import (
    Average,
    Network,
    Params,
    Relaxation,
    RelaxedInfo,
    describe,
    params_step,
    subproblem,
)
from .states import StateSolver


class PenaltyState(NamedTuple):
    """The parameters' optimiser, and the number of steps, on which lam depends."""

    optimizer_state: optax.OptState
    num_steps: Int[Array, ""]


def penalty_method(
    optimizer: optax.GradientTransformation, schedule: optax.Schedule, solve_states: StateSolver
) -> Relaxation:
    """The method of auxiliary coordinates on mini-batches, lam = schedule(step).

    As lam grows, the minimising states tend to the true ones with ``lam r_t -> -dl/dh_t``, and the
    parameters' gradient to that of back-propagation. In float32 that ends at a lam of about 1e4:
    r_t is a difference of numbers near 1, and lam multiplies its rounding.

    Source: Carreira-Perpinan & Wang 2014. They keep {h_t} of the whole training set; here a batch
    starts at the true states.
    """

    def init(params: Params) -> PenaltyState:
        return PenaltyState(optimizer.init(params), jnp.zeros((), jnp.int32))

    def step(
        network: Network,
        params: Params,
        state: PenaltyState,
        xs: InputSequence,
        targets: Any,
        average: Average = lambda tree: tree,
    ) -> tuple[Params, PenaltyState, RelaxedInfo]:
        problem, start = subproblem(network, params, xs, targets, schedule(state.num_steps))
        hs = solve_states(problem, start)
        info = describe(problem, start, hs, average)
        params, inner = params_step(optimizer, state.optimizer_state, problem, hs, average)
        return params, PenaltyState(inner, state.num_steps + 1), info

    return Relaxation(init, step)
