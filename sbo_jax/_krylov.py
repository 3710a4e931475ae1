"""Matrix-free solves of ``A x = b`` for many samples at once, each with its own coefficients.

One matrix product serves the whole batch, but inner products are taken per sample: a sample that
has converged stands still while others go on, and none influences another. (One Krylov space for
the stacked system, which the solvers of `jax.scipy` would build, mixes them.)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ._types import Hidden

MatVec: TypeAlias = Callable[[Any], Any]
Coefficient: TypeAlias = Float[Array, "*batch 1"]


class KrylovResult(NamedTuple):
    """``x`` with ``||b - A x||`` per sample, computed from x and not from the recurrence.

    ``num_steps`` counts the iterations in which some sample still moved.
    """

    x: Hidden
    residual_norm: Float[Array, "*batch"]
    num_steps: Int[Array, ""]


@runtime_checkable
class LinearSolver(Protocol):
    """``solver(matvec, b) -> KrylovResult``; hashable; `tolerance` bounds ||r|| / ||b||."""

    @property
    def tolerance(self) -> float: ...

    def __call__(self, matvec: MatVec, b: Hidden) -> KrylovResult: ...


class _KrylovState(NamedTuple):
    x: Hidden
    r: Hidden
    p: Hidden


@dataclass(frozen=True)
class CG:
    """Conjugate gradients, for symmetric positive definite A.

    A direction of non-positive curvature stops its sample, and the residual then shows it.

    Args:
      num_steps: products with A, at most; D of them suffice in exact arithmetic.
      tolerance: a sample stands still once ``||r|| <= tolerance ||b||``.
    """

    num_steps: int = 20
    tolerance: float = 1e-6

    def __call__(self, matvec: MatVec, b: Hidden) -> KrylovResult:
        threshold = self.tolerance**2 * _dot(b, b)

        def step(state: _KrylovState) -> _KrylovState:
            a_p = matvec(state.p)
            curvature = _dot(state.p, a_p)
            active = (_dot(state.r, state.r) > threshold) & (curvature > 0)
            step_size = _ratio(_dot(state.r, state.r), curvature, active)
            r = state.r - step_size * a_p
            conjugation = _ratio(_dot(r, r), _dot(state.r, state.r), active)
            p = jnp.where(active, r + conjugation * state.p, 0)
            return _KrylovState(state.x + step_size * state.p, r, p)

        start = _KrylovState(jnp.zeros_like(b), b, b)
        return _iterate(step, start, self.num_steps, threshold, matvec, b)


@dataclass(frozen=True)
class BiCGStab:
    """Stabilised bi-conjugate gradients, for non-symmetric or indefinite A.

    May stagnate or break down, in which case its sample stops and the residual shows it.

    Args:
      num_steps: iterations of two products with A each, at most.
      tolerance: a sample stands still once ``||r|| <= tolerance ||b||``.

    Source: van der Vorst 1992, without preconditioner.
    """

    num_steps: int = 20
    tolerance: float = 1e-6

    def __call__(self, matvec: MatVec, b: Hidden) -> KrylovResult:
        threshold = self.tolerance**2 * _dot(b, b)

        def step(state: _KrylovState) -> _KrylovState:
            active = _dot(state.r, state.r) > threshold
            a_p = matvec(state.p)
            rho = _dot(b, state.r)
            alpha = _ratio(rho, _dot(b, a_p), active)
            s = state.r - alpha * a_p
            a_s = matvec(s)
            omega = _ratio(_dot(a_s, s), _dot(a_s, a_s), active)
            r = s - omega * a_s
            beta = _ratio(_dot(b, r), rho, active) * _ratio(alpha, omega, active)
            p = jnp.where(active, r + beta * (state.p - omega * a_p), 0)
            return _KrylovState(state.x + alpha * state.p + omega * s, r, p)

        start = _KrylovState(jnp.zeros_like(b), b, b)
        return _iterate(step, start, self.num_steps, threshold, matvec, b)


def _iterate(
    step: Callable[[Any], Any],
    start: Any,
    num_steps: int,
    threshold: Coefficient,
    matvec: MatVec,
    b: Hidden,
) -> KrylovResult:
    """`num_steps` times, a fixed number, so that the solve can itself be differentiated."""

    def body(_: Any, loop: tuple[Array, Any]) -> tuple[Array, Any]:
        count, state = loop
        return count + jnp.any(_dot(state.r, state.r) > threshold), step(state)

    zero = jnp.zeros((), jnp.int32)
    count, state = jax.lax.fori_loop(0, num_steps, body, (zero, start))
    residual = b - matvec(state.x)
    return KrylovResult(state.x, jnp.linalg.norm(residual, axis=-1), count)


def _dot(a: Hidden, b: Hidden) -> Coefficient:
    return jnp.sum(a * b, axis=-1, keepdims=True)


def _ratio(numerator: Coefficient, denominator: Coefficient, active: Array) -> Coefficient:
    """0 for a sample that stands still or whose denominator vanishes: never a NaN."""
    safe = active & (denominator != 0)
    return jnp.where(safe, numerator / jnp.where(safe, denominator, 1), 0)
