"""Implicit rollouts: differentiate at the solution, not through the steps that found it."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from .._checks import check_counts, check_tolerance
from .._types import LowerCarry, MaskSequence
from .._varying import as_varying
from ..linear_solvers import CG, LinearSolver
from ..lower.composed import Problem, averaged, check_damping, damped
from ..lower.step import init_carry
from .implicit import (
    AdjointPolicy,
    ProblemData,
    differentiate_at,
    keep,
    solve_implicit,
    without_gradient,
)
from .reading import Reading, RolloutResult, check_mask, check_rollout, where_valid
from .unrolled import unroll

_CG = CG()
_COUNTS = ("num_steps", "passes", "chunk")


@dataclass(frozen=True, kw_only=True)
class _Implicit:
    """Options of all implicit rollouts; see `solve_implicit`."""

    damping: float = 0.1
    linear_solver: LinearSolver = _CG
    policy: AdjointPolicy = keep
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        check_damping(self.damping)
        check_counts(**{name: n for name, n in vars(self).items() if name in _COUNTS})
        check_tolerance(self.tolerance)


@dataclass(frozen=True, kw_only=True)
class SequenceEquilibrium(_Implicit):
    """``h* = argmin_h (1/T) sum_t F(h, u_t) + damping/2 ||h||^2``, one state for the sequence.

    Forward and adjoint are parallel over t, and memory does not grow with `num_steps`. The order of
    the inputs plays no part: this models a set, unless x_t contains its time. Every output is h*.
    """

    num_steps: int = 30
    causal: ClassVar[bool] = False

    def __call__(self, reading: Reading) -> RolloutResult:
        problem, solver, carry, us, theta, mask = reading.driven
        _check_no_h_prev(problem)
        u = (us, _weights(us, mask))
        h, info = solve_implicit(averaged(problem), solver, carry.h, u, theta, **vars(self))
        return init_carry(solver, h), jnp.broadcast_to(h, us.shape), info


@dataclass(frozen=True, kw_only=True)
class StepEquilibrium(_Implicit):
    """``h_t = argmin_h F(h, u_t; theta, h_{t-1}) + damping/2 ||h||^2``: every step solved.

    The gradient reaches back through h_{t-1} only where the energy depends on it (`Transition`,
    `IncrementalEquilibrium`); with `Residual`, h_t is a function of u_t alone. The info has a
    leading time axis.
    """

    num_steps: int = 30
    causal: ClassVar[bool] = True

    def __call__(self, reading: Reading) -> RolloutResult:
        problem, solver, carry, us, theta, mask = reading.driven
        carry, us, theta, mask = as_varying(carry, us, theta, mask)
        check_rollout(problem, carry.h, us, theta, mask)

        def step(carry: LowerCarry, inputs: Any) -> tuple[LowerCarry, Any]:
            u, valid = inputs
            h, info = solve_implicit(problem, solver, carry.h, u, theta, **vars(self))
            new = where_valid(valid, init_carry(solver, h), carry)
            return new, (new.h, info)

        carry, (hs, info) = jax.lax.scan(step, carry, (us, mask))
        return carry, hs, info


@dataclass(frozen=True, kw_only=True)
class Streamed(_Implicit):
    """The paper's forward rollout with an implicit gradient at its last state.

    Reads the sequence `passes` times, one step per input on the damped energy, then differentiates
    as if h_T were stationary for the average energy of `SequenceEquilibrium`. The info says how far
    from stationary it is, and hence how biased the gradient. The backward pass reads `chunk` steps
    at a time: apart from the drives and their cotangents its memory does not grow with T. Every
    output is h_T.

    Needs small steps, little momentum and several passes: with one pass and the preset
    `EQUILIBRIUM` it did not learn the adding task.
    """

    passes: int = 1
    chunk: int = 64
    causal: ClassVar[bool] = False

    def __call__(self, reading: Reading) -> RolloutResult:
        problem, solver, carry, us, theta, mask = reading.driven
        _check_no_h_prev(problem)
        problem = damped(problem, self.damping)
        carry, us, theta, mask = as_varying(carry, us, theta, mask)

        def read(data: ProblemData) -> LowerCarry:
            def one_pass(_: Any, carry: LowerCarry) -> LowerCarry:
                return unroll(problem, solver, carry, data.u, data.theta, mask=mask)[0]

            return jax.lax.fori_loop(0, self.passes, one_pass, data.h_prev)

        end = without_gradient(read, ProblemData(us, theta, carry))
        data = ProblemData((us, _weights(us, mask)), theta, carry.h)
        h, info = differentiate_at(
            averaged(problem, self.chunk),
            end.h,
            data,
            self.linear_solver,
            self.policy,
            tolerance=self.tolerance,
            num_steps=self.passes * us.shape[0],
        )
        return LowerCarry(h, end.solver_state), jnp.broadcast_to(h, us.shape), info


def _check_no_h_prev(problem: Problem) -> None:
    """ValueError for an energy of the state before, which an average over steps does not have."""
    if getattr(problem, "uses_h_prev", False):
        raise ValueError(
            f"expected an energy in which h_prev plays no part, got {type(problem).__name__}; try "
            f"StepEquilibrium or Unrolled"
        )


def _weights(us: Any, mask: MaskSequence | None) -> jax.Array:
    """Of every step; ValueError for drives that are a tree, whose outputs have no shape yet."""
    if not hasattr(us, "shape"):
        raise ValueError(
            f"expected drives as one array, got {type(us).__name__}; try StepEquilibrium, unroll "
            f"or solve_implicit"
        )
    check_mask(mask, us.shape[:-1])
    return jnp.ones(us.shape[:-1], us.dtype) if mask is None else mask.astype(us.dtype)
