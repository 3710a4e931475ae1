"""``l(h_T, y) + sum_t p_t . r_t + lam/2 ||r_t||^2`` with multipliers p_t."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from .._checks import check_counts
from .._types import HiddenSequence, InputSequence, ScalarArray
from .network import (
    Average,
    Network,
    Params,
    Relaxation,
    RelaxedInfo,
    Subproblem,
    describe,
    params_step,
    subproblem,
)
from .states import StateSolver

_ENOUGH = 4  # lam grows unless the residual fell by this factor


class LagrangianState(NamedTuple):
    """The parameters' optimiser; multipliers belong to a batch and are not kept."""

    optimizer_state: optax.OptState


def augmented_lagrangian(
    optimizer: optax.GradientTransformation,
    start_penalty: float,
    solve_states: StateSolver,
    *,
    growth: float = 2.0,
    rounds: int = 3,
) -> Relaxation:
    """Per batch `rounds` updates of the states, the multipliers' between them, then one step.

    Between rounds lam grows by `growth` unless the residual fell by a factor of four. For fixed
    parameters only the true states are feasible: p_t tends to -dl/dh_t at a finite lam, and the
    parameters' gradient to that of back-propagation. One round is `penalty_method` at constant lam.

    Source: ADMM as in Taylor et al. 2016; lam as in Nocedal & Wright 2006, ch. 17.

    Raises:
      ValueError: a `start_penalty` that is not finite and > 0, or a `growth` below 1.
    """
    check_counts(rounds=rounds)
    if not (0 < start_penalty < math.inf and 1 <= growth < math.inf):
        raise ValueError(
            f"expected finite start_penalty > 0 and growth >= 1, got {start_penalty:g} and "
            f"{growth:g}; try 10.0 and 2.0"
        )

    def init(params: Params) -> LagrangianState:
        return LagrangianState(optimizer.init(params))

    def step(
        network: Network,
        params: Params,
        state: LagrangianState,
        xs: InputSequence,
        targets: Any,
        average: Average = lambda tree: tree,
    ) -> tuple[Params, LagrangianState, RelaxedInfo]:
        problem, start = subproblem(network, params, xs, targets, start_penalty)
        hs, size = start, jnp.asarray(jnp.inf, start.dtype)

        def one_round(_: Any, loop: Any) -> Any:
            hs, multipliers, lam, size = loop
            now = problem._replace(multipliers=multipliers, penalty=lam)
            hs = solve_states(now, hs)
            now, new_size = multiplier_step(now, hs, size, growth, average)
            return hs, now.multipliers, now.penalty, new_size

        loop = hs, problem.multipliers, problem.penalty, size
        hs, multipliers, lam, _ = jax.lax.fori_loop(0, rounds - 1, one_round, loop)
        problem = problem._replace(multipliers=multipliers, penalty=lam)
        hs = solve_states(problem, hs)
        info = describe(problem, start, hs, average)
        params, inner = params_step(optimizer, state.optimizer_state, problem, hs, average)
        return params, LagrangianState(inner), info

    return Relaxation(init, step)


def multiplier_step(
    problem: Subproblem,
    hs: HiddenSequence,
    size: ScalarArray | float,
    growth: float = 1.0,
    average: Average = lambda tree: tree,
) -> tuple[Subproblem, ScalarArray]:
    """``p_t + lam r_t``, then lam times `growth` unless the residual fell to a fourth of `size`.

    Returns the problem of the next round, and the root mean square of the residual.
    """
    r = problem.residual(hs)
    new_size = jnp.sqrt(average(jnp.mean(r * r)))
    lam = jnp.where(new_size * _ENOUGH > size, growth * problem.penalty, problem.penalty)
    multipliers = problem.multipliers + problem.penalty * r
    return problem._replace(multipliers=multipliers, penalty=lam), new_size
