"""The rollout of units that do not interact, in parallel over time: Newton's method on all steps.

The carries c_1..c_T of a rollout (h and the solver's state) solve ``c_t = f(c_{t-1}, u_t)``. With
the residuals ``r_t = f(c_{t-1}, u_t) - c_t`` of a guess, Newton's correction of all of them is

    d_t = J_t d_{t-1} + r_t,    J_t = df/dc at c_{t-1},    d_0 = 0,

a linear recurrence, which `jax.lax.associative_scan` solves in O(log T) depth. Where W is
`Diagonal` or `Scalar`, J_t is one small block per unit: a number for SGD, 2 x 2 with momentum. One
derivative along all units at once gives a column of every block.

A small correction d, from residuals at rounding level, proves the result correct, however it was
found: to first order d is the error, with all that the J_t make of the residuals. If it stays
large, or J_t has other entries (as with a solver that clips by a norm), the sequence is read step
by step.

Source: Lim et al. 2024 (DEER); Gonzalez et al. 2024 (quasi-DEER), of which this is the case where
the diagonal is exact.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._checks import as_numbers, check_counts
from .._numerics import largest
from .._types import (
    HiddenSequence,
    LowerCarry,
    LowerProblem,
    LowerSolver,
    MaskSequence,
    ParallelInfo,
    ResidualProblem,
)
from .._varying import as_varying
from ..lower.operators import units_interact
from ..lower.step import as_carry, check_state_per_unit, lower_step
from .reading import Reading, RolloutResult, check_known_sizes, check_rollout, where_valid
from .unrolled import Unrolled, unroll

# A carry as one array, its k parts last; and one block of J_t per unit.
Stack: TypeAlias = Float[Array, "time *batch hidden k"]
First: TypeAlias = Float[Array, "1 *batch hidden k"]
UnitJacobians: TypeAlias = Float[Array, "time *batch hidden k k"]

_ROUNDING = 16


def unroll_parallel(
    problem: LowerProblem | ResidualProblem,
    solver: LowerSolver,
    h0: Any,
    us: Any,
    theta: Any,
    *,
    mask: MaskSequence | None = None,
    inner_steps: int = 1,
    max_iterations: int = 50,
) -> tuple[LowerCarry, HiddenSequence, ParallelInfo]:
    """What `unroll` computes, in O(log T) depth where W is `Diagonal` or `Scalar`.

    Needs more arithmetic than `unroll`, and memory for some ten arrays of the size of the drives:
    it pays on devices that would otherwise idle, with long T and small batches. Derivatives of any
    order are those of `unroll`. Under `jax.vmap` the step-by-step rollout is computed as well.

    Args:
      problem: the lower-level energy.
      solver: one whose state has one number per unit, like `sgd`, `heavy_ball` and `nesterov`.
      h0: as for `unroll`.
      us: as for `unroll`.
      theta: an operator whose units do not interact, `Diagonal` or `Scalar`.
      mask: as for `unroll`.
      inner_steps: as for `unroll`.
      max_iterations: Newton iterations before the sequence is read step by step.

    Raises:
      ValueError: units that interact, a solver state not per unit, or what `unroll` refuses.
    """
    if units_interact(theta):
        raise ValueError(
            f"expected an operator whose units do not interact, got {type(theta).__name__}; "
            f"try Diagonal or Scalar, or read step by step with unroll (Unrolled)"
        )
    check_counts(inner_steps=inner_steps, max_iterations=max_iterations)
    us = as_numbers("drives", us)
    mask = None if mask is None else jnp.asarray(as_numbers("mask", mask))
    carry, us, theta, mask = as_varying(as_carry(solver, h0), us, theta, mask)
    check_rollout(problem, carry.h, us, theta, mask)
    check_state_per_unit(carry)
    check_known_sizes("a known number of time steps for a scan in parallel", us.shape[:1])
    if us.size == 0:
        nothing = jnp.zeros(us.shape[1:-1], us.dtype)
        info = ParallelInfo(nothing, jnp.zeros((), jnp.int32), nothing == 0)
        return *unroll(problem, solver, carry, us, theta, mask=mask), info

    def step(before: Stack) -> Stack:
        """All steps at once: time is one more batch axis."""
        old = _unstack(before, carry)
        new = lower_step(problem, solver, old, us, theta, inner_steps=inner_steps)
        return _stack(where_valid(mask, new, old))

    first = _stack(jax.tree.map(lambda leaf: leaf[None], carry))
    after, info = _solve(step, first, us.shape[0], max_iterations)

    def in_parallel() -> tuple[LowerCarry, HiddenSequence]:
        return _unstack(after[-1], carry), after[..., 0]

    def step_by_step() -> tuple[LowerCarry, HiddenSequence]:
        return unroll(problem, solver, carry, us, theta, mask=mask, inner_steps=inner_steps)

    return *jax.lax.cond(jnp.all(info.converged), in_parallel, step_by_step), info


def _solve(
    step: Callable[[Stack], Stack], first: First, num_steps: int, max_iterations: int
) -> tuple[Stack, ParallelInfo]:
    """c_1..c_T, differentiable any number of times: the derivative rule itself calls `solve`."""
    converted, closed_over = jax.closure_convert(step, _repeat(first, num_steps))

    @jax.custom_jvp
    def solve(first: First, closed_over: Any) -> tuple[Stack, ParallelInfo]:
        return _newton(lambda x: converted(x, *closed_over), first, num_steps, max_iterations)

    @solve.defjvp
    def derivative(primals: Any, tangents: Any) -> Any:
        (first, closed_over), (first_dot, closed_over_dot) = primals, tangents
        after, info = solve(first, closed_over)
        # Of states that nobody uses the derivatives must be finite: their cotangents are zeros, and
        # 0 times NaN is NaN.
        used = jnp.all(info.converged)
        before = jnp.where(used, _before(first, after), first)
        still = jnp.zeros_like(before).at[:1].set(first_dot)
        _, moved = jax.jvp(converted, (before, *closed_over), (still, *closed_over_dot))
        jacobians = _unit_jacobians(lambda x: converted(x, *closed_over), before)
        jacobians = jnp.where(used, jacobians, 0)
        no_tangent = jax.custom_derivatives.zero_from_primal(info)
        return (after, info), (_linear_recurrence(jacobians, moved), no_tangent)

    return solve(first, closed_over)


def _newton(
    step: Callable[[Stack], Stack], first: First, num_steps: int, max_iterations: int
) -> tuple[Stack, ParallelInfo]:
    """Newton's method from c_t = c_0, until corrections are so small that their squares vanish."""
    eps = jnp.finfo(first.dtype).eps

    def unfinished(state: tuple[Stack, ParallelInfo]) -> Bool[Array, ""]:
        _, info = state
        hopeless = jnp.any(jnp.isnan(info.residual))
        return ~jnp.all(info.converged) & ~hopeless & (info.num_iterations < max_iterations)

    def largest_relative(change: Stack, *near: Stack) -> Float[Array, "*batch"]:
        size = 1 + sum(jnp.abs(x) for x in near)
        return largest(jnp.abs(change) / size, axis=(0, first.ndim - 2, first.ndim - 1))

    def correct(state: tuple[Stack, ParallelInfo]) -> tuple[Stack, ParallelInfo]:
        guess, info = state
        before = _before(first, guess)
        after = step(before)
        residuals, jacobians = after - guess, _unit_jacobians(step, before)
        moved = _linear_recurrence(jacobians, residuals)
        residual = largest_relative(residuals, before, after)
        converged = (
            (residual <= _ROUNDING * eps)
            & (largest_relative(moved, guess) <= eps**0.5)
            & _are_whole_jacobian(jacobians, step, before)
        )
        # A sample that is done stays as it is, however long the others take.
        done = info.converged
        moved = jnp.where(done[None, ..., None, None], 0, moved)
        residual = jnp.where(done, info.residual, residual)
        return guess + moved, ParallelInfo(residual, info.num_iterations + 1, done | converged)

    start = _repeat(first, num_steps)
    unknown = jnp.full(first.shape[1:-2], jnp.inf, first.dtype)
    info = ParallelInfo(unknown, jnp.zeros((), jnp.int32), jnp.isneginf(unknown))
    return jax.lax.while_loop(unfinished, correct, as_varying(start, info))


def _linear_recurrence(jacobians: UnitJacobians, residuals: Stack) -> Stack:
    """``d_t = J_t d_{t-1} + r_t`` for all t, d_0 = 0."""

    def compose(
        early: tuple[UnitJacobians, Stack], late: tuple[UnitJacobians, Stack]
    ) -> tuple[UnitJacobians, Stack]:
        return _product(late[0], early[0]), _apply(late[0], early[1]) + late[1]

    return jax.lax.associative_scan(compose, (jacobians, residuals))[1]


def _product(a: UnitJacobians, b: UnitJacobians) -> UnitJacobians:
    """``a b``, as sums that fuse: products of 2 x 2 matrices do not."""
    return jnp.sum(a[..., :, :, None] * b[..., None, :, :], axis=-2)


def _apply(a: UnitJacobians, b: Stack) -> Stack:
    return jnp.sum(a * b[..., None, :], axis=-1)


def _unit_jacobians(step: Callable[[Stack], Stack], before: Stack) -> UnitJacobians:
    """The blocks of J_t; column j is the derivative along part j of all units at once."""
    _, push = jax.linearize(step, before)
    units = [jnp.zeros_like(before).at[..., j].set(1) for j in range(before.shape[-1])]
    return jnp.stack([push(unit) for unit in units], axis=-1)


def _are_whole_jacobian(
    jacobians: UnitJacobians, step: Callable[[Stack], Stack], before: Stack
) -> Bool[Array, "*batch"]:
    """Whether J_t has no entries but these blocks, by a product with a random direction."""
    direction = jax.random.rademacher(jax.random.key(0), before.shape, before.dtype)
    before, direction = as_varying(before, direction)
    expected = _apply(jacobians, direction)
    _, found = jax.jvp(step, (before,), (direction,))
    axes = (0, before.ndim - 2, before.ndim - 1)
    difference = largest(jnp.abs(found - expected), axis=axes)
    size = largest(jnp.abs(jacobians), axis=(*axes, before.ndim))
    return difference <= jnp.finfo(before.dtype).eps ** 0.5 * (1 + size)


def _before(first: First, after: Stack) -> Stack:
    return jnp.concatenate([first, after[:-1]])


def _repeat(first: First, num_steps: int) -> Stack:
    return jnp.broadcast_to(first, (num_steps, *first.shape[1:]))


def _stack(carry: LowerCarry) -> Stack:
    """The parts in the order of a carry's leaves, h first."""
    return jnp.stack(jax.tree.leaves(carry), axis=-1)


def _unstack(stack: Float[Array, "*batch hidden k"], like: LowerCarry) -> LowerCarry:
    parts = [stack[..., j] for j in range(stack.shape[-1])]
    return jax.tree.unflatten(jax.tree.structure(like), parts)


@dataclass(frozen=True)
class Parallel:
    """What `Unrolled` computes, in O(log T) depth; see `unroll_parallel`, whose info it returns."""

    inner_steps: int = 1
    max_iterations: int = 50
    damping: ClassVar[float] = 0.0
    causal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_counts(**vars(self))

    @property
    def step_by_step(self) -> Unrolled:
        return Unrolled(inner_steps=self.inner_steps)

    def __call__(self, reading: Reading) -> RolloutResult:
        problem, solver, carry, us, theta, mask = reading.driven
        return unroll_parallel(problem, solver, carry, us, theta, mask=mask, **vars(self))
