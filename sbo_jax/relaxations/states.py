"""Updating the states: ``min over {h_t} of merit({h_t})`` for fixed parameters.

The residual's Jacobian J is block bidiagonal, ``(J d)_t = d_t - A_t d_{t-1}``, and lam J'J has a
condition number of about T^2. A step of `descent` is parallel over t, but carries the loss's
influence back by one time step only. `gauss_newton` inverts J by one pass over t, and J' by one
pass back.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from .._checks import check_counts
from .._types import Hidden, HiddenSequence
from ..linear_solvers import CG, LinearSolver
from .network import Subproblem

StateSolver: TypeAlias = Callable[[Subproblem, HiddenSequence], HiddenSequence]

_CG = CG(10)
_STEP_SIZES = (1.0, 0.5, 0.25, 0.0625)


def descent(optimizer: optax.GradientTransformation, num_steps: int) -> StateSolver:
    """Steps of any optax transformation on merit / lam, all time steps at once.

    The division makes step sizes independent of lam: sgd is stable below 2 / (1 + ||A||)^2.
    """
    check_counts(num_steps=num_steps)

    def solve(problem: Subproblem, hs: HiddenSequence) -> HiddenSequence:
        gradient = jax.grad(lambda hs: jnp.sum(problem.merit(hs)) / problem.penalty)

        def body(_: Any, loop: Any) -> Any:
            hs, state = loop
            updates, state = optimizer.update(gradient(hs), state, hs)
            return optax.apply_updates(hs, updates), state

        return jax.lax.fori_loop(0, num_steps, body, (hs, optimizer.init(hs)))[0]

    return solve


def gauss_newton(num_steps: int = 1, linear_solver: LinearSolver = _CG) -> StateSolver:
    """Newton's method with f linearised; each sample takes the step that lowers its merit most.

    With s = J d a step solves ``(lam I + J'^-1 H J^-1) s = -J'^-1 grad``, H the Hessian of the loss
    in h_T, by conjugate gradients. The operator is lam I plus a matrix of the rank of H: one
    iteration per output suffices. A sample whose merit no step lowers stands still.
    """
    check_counts(num_steps=num_steps)

    def solve(problem: Subproblem, hs: HiddenSequence) -> HiddenSequence:
        def body(_: Any, hs: HiddenSequence) -> HiddenSequence:
            return _line_search(problem, hs, _direction(problem, hs, linear_solver))

        return jax.lax.fori_loop(0, num_steps, body, hs)

    return solve


def _direction(
    problem: Subproblem, hs: HiddenSequence, linear_solver: LinearSolver
) -> HiddenSequence:
    r = problem.residual(hs)
    invert = _residual_inverse(problem, hs, r)
    transposed = jax.linear_transpose(invert, r)
    slope, curve = jax.linearize(jax.grad(lambda h: jnp.sum(problem.loss(h[None]))), hs[-1])

    def at_end(g: Hidden) -> HiddenSequence:
        return transposed(jnp.zeros_like(hs).at[-1].set(g))[0]

    def matvec(s: Float[Array, "batch n"]) -> Float[Array, "batch n"]:
        return problem.penalty * s + _flat(at_end(curve(invert(_unflat(s, hs.shape))[-1])))

    # In s the gradient of the coupling is p + lam r: J' has been divided out.
    gradient = at_end(slope) + problem.multipliers + problem.penalty * r
    s = linear_solver(matvec, -_flat(gradient)).x
    return invert(_unflat(s, hs.shape))


def _residual_inverse(
    problem: Subproblem, hs: HiddenSequence, r: HiddenSequence
) -> Callable[[HiddenSequence], HiddenSequence]:
    """``s -> d`` with ``d_t = s_t + A_t d_{t-1}``: what states do when residuals change."""
    step = problem.network.transition(problem.params)

    def states(r: HiddenSequence) -> HiddenSequence:
        def body(h: Hidden, inputs: Any) -> tuple[Hidden, Hidden]:
            x, r = inputs
            h = step(h, x) + r
            return h, h

        return jax.lax.scan(body, jnp.zeros_like(hs[0]), (problem.xs, r))[1]

    return jax.linearize(states, r)[1]


def _line_search(problem: Subproblem, hs: HiddenSequence, d: HiddenSequence) -> HiddenSequence:
    best, lowest = hs, problem.merit(hs)
    for size in _STEP_SIZES:
        trial = hs + size * d
        merit = problem.merit(trial)
        best = jnp.where((merit < lowest)[None, :, None], trial, best)
        lowest = jnp.fmin(merit, lowest)
    return best


def _flat(hs: HiddenSequence) -> Float[Array, "batch n"]:
    return jnp.moveaxis(hs, 0, 1).reshape(hs.shape[1], -1)


def _unflat(s: Float[Array, "batch n"], shape: tuple[int, ...]) -> HiddenSequence:
    return jnp.moveaxis(s.reshape(shape[1], shape[0], shape[2]), 1, 0)
