"""Matrix-free solves of ``A x = b``, for both levels of the bilevel problem.

The lower level solves for adjoints of hidden states, many samples at once; the upper level for the
adjoint of all parameters, as one vector. One matrix product serves a whole batch, but inner
products are taken per sample: a converged sample stands still while others go on, and none
influences another. `jax.scipy.sparse.linalg` would build one Krylov space for the stacked system
and so mix them; its CG also returns NaN where A is singular, as the Hessian of a ReLU energy is,
and hides a NaN in b.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ._checks import check_counts, check_tolerance
from ._numerics import largest
from ._types import Hidden
from ._varying import as_varying

MatVec: TypeAlias = Callable[[Hidden], Hidden]
Coefficient: TypeAlias = Float[Array, "*batch 1"]


# An iterate counts while its residual is known to this fraction of ||b||.
_TRUST = 0.01


class LinearSolution(NamedTuple):
    """``x`` with ``||b - A x||`` per sample, computed from x and not from the recurrence.

    ``num_steps`` counts the iterations in which some sample still moved.
    """

    x: Hidden
    residual_norm: Float[Array, "*batch"]
    num_steps: Int[Array, ""]


@runtime_checkable
class LinearSolver(Protocol):
    """``solver(matvec, b) -> LinearSolution``; hashable.

    A solve has converged where ``||r|| <= tolerance ||b||``.
    """

    @property
    def tolerance(self) -> float: ...

    def __call__(self, matvec: MatVec, b: Hidden) -> LinearSolution: ...


class _KrylovState(NamedTuple):
    x: Hidden
    r: Hidden
    p: Hidden


@dataclass(frozen=True)
class _Krylov:
    num_steps: int = 20
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        check_counts(num_steps=self.num_steps)
        check_tolerance(self.tolerance)

    def __call__(self, matvec: MatVec, b: Hidden) -> LinearSolution:
        scale = largest(jnp.abs(b), axis=-1, keepdims=True)
        scale = jax.lax.stop_gradient(jnp.where(scale == 0, 1, scale))
        b = b / scale  # the square of a small or a large b would leave the range of floats
        threshold = self.tolerance**2 * _dot(b, b)
        step = partial(self._step, matvec, b, threshold)
        x, count = _iterate(step, b, self.num_steps, threshold)
        residual = norm_per_sample(b - matvec(x)) * scale
        return LinearSolution(x * scale, residual[..., 0], count)

    def _step(
        self, matvec: MatVec, b: Hidden, threshold: Coefficient, state: _KrylovState
    ) -> _KrylovState:
        raise NotImplementedError


@dataclass(frozen=True)
class CG(_Krylov):
    """Conjugate gradients, for symmetric positive definite A.

    A direction of non-positive curvature stops its sample, and the residual then shows it.

    Args:
      num_steps: products with A, at most; D of them suffice in exact arithmetic.
      tolerance: a sample stands still once ``||r|| <= tolerance ||b||``.
    """

    def _step(
        self, matvec: MatVec, b: Hidden, threshold: Coefficient, state: _KrylovState
    ) -> _KrylovState:
        a_p = matvec(state.p)
        curvature = _dot(state.p, a_p)
        active = (_dot(state.r, state.r) > threshold) & (curvature > 0)
        step_size = _ratio(_dot(state.r, state.r), curvature, active)
        r = state.r - step_size * a_p
        conjugation = _ratio(_dot(r, r), _dot(state.r, state.r), active)
        p = jnp.where(active, r + conjugation * state.p, 0)
        return _KrylovState(state.x + step_size * state.p, r, p)


@dataclass(frozen=True)
class BiCGStab(_Krylov):
    """Stabilised bi-conjugate gradients, for non-symmetric or indefinite A.

    May stagnate or break down, in which case its sample stops and the residual shows it.

    Args:
      num_steps: iterations of two products with A each, at most.
      tolerance: a sample stands still once ``||r|| <= tolerance ||b||``.

    Source: van der Vorst 1992, without preconditioner.
    """

    def _step(
        self, matvec: MatVec, b: Hidden, threshold: Coefficient, state: _KrylovState
    ) -> _KrylovState:
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


@dataclass(frozen=True)
class Neumann:
    """``x = rate sum_{k < num_steps} (I - rate A)^k b``, which tends to ``A^-1 b``.

    These are `num_steps` steps of gradient descent of size `rate` from 0, and what back-propagation
    through as many such steps gives: biased by ``(1 - rate lambda)^num_steps`` along an eigenvector
    of A, and finite for any A with ``0 <= rate A <= 2``, singular ones included.

    Args:
      rate: > 0; below 2 / (largest eigenvalue of A) for the series to converge.
      num_steps: terms of the series, >= 1.
      tolerance: what counts as converged; the series itself never stops early.

    Source: Lorraine et al. 2020, for hyper-parameters.
    """

    rate: float
    num_steps: int
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        check_counts(num_steps=self.num_steps)
        check_tolerance(self.tolerance)
        if not 0 < self.rate < math.inf:
            raise ValueError(f"expected a finite rate > 0, got {self.rate:g}; try 1/L")

    def __call__(self, matvec: MatVec, b: Hidden) -> LinearSolution:
        def descend(_: Any, x: Hidden) -> Hidden:
            return x + self.rate * (b - matvec(x))

        x = jax.lax.fori_loop(0, self.num_steps, descend, jnp.zeros_like(b))
        residual = norm_per_sample(b - matvec(x))
        return LinearSolution(x, residual[..., 0], jnp.asarray(self.num_steps))


class _Best(NamedTuple):
    """The x of the smallest residual while the recurrence could be trusted."""

    x: Hidden
    square: Coefficient
    steepest: Coefficient
    sound: Array


def _iterate(
    step: Callable[[_KrylovState], _KrylovState],
    b: Hidden,
    num_steps: int,
    threshold: Coefficient,
) -> tuple[Hidden, Int[Array, ""]]:
    """The best x, and in how many iterations some sample still moved.

    A fixed number of iterations, so that the solve can itself be differentiated.
    """

    def body(_: Any, loop: tuple[Array, _KrylovState, _Best]) -> tuple[Array, _KrylovState, _Best]:
        count, old, best = loop
        new = step(old)
        count += jnp.any((_dot(old.r, old.r) > threshold) & (new.x != old.x))
        return count, new, _better(best, old, new, b)

    nothing = 0 * b  # keeps a NaN of b
    square = _dot(b, b)
    best = _Best(nothing, square, jnp.zeros_like(square), jnp.ones_like(square, bool))
    start = as_varying(jnp.zeros((), jnp.int32), _KrylovState(nothing, b, b), best)
    count, _, best = jax.lax.fori_loop(0, num_steps, body, start)
    return best.x, count


def _better(best: _Best, old: _KrylovState, new: _KrylovState, b: Hidden) -> _Best:
    """The new x if its residual is smaller and not made of rounding.

    On a singular A the iterates run away along its null space, and the residual of the recurrence
    parts from b - A x by eps ||A|| ||x||. ||A|| is at least ||change of r|| / ||change of x||.
    """
    change = _dot(new.x - old.x, new.x - old.x)
    steepest = jnp.maximum(best.steepest, _ratio(_dot(new.r - old.r, new.r - old.r), change, True))
    rounding = jnp.finfo(b.dtype).eps ** 2 * steepest * _dot(new.x, new.x)
    sound = best.sound & (rounding < _TRUST**2 * _dot(b, b))
    square = _dot(new.r, new.r)
    better = sound & (square < best.square)
    return _Best(
        jnp.where(better, new.x, best.x), jnp.where(better, square, best.square), steepest, sound
    )


def norm_per_sample(a: Hidden) -> Coefficient:
    """``||a||`` over the last axis, also where the squares leave the range of floats."""
    scale = largest(jnp.abs(a), axis=-1, keepdims=True)
    safe = jnp.where((scale > 0) & jnp.isfinite(scale), scale, 1)
    norm = jnp.linalg.norm(a / safe, axis=-1, keepdims=True)
    return safe * norm


def _dot(a: Hidden, b: Hidden) -> Coefficient:
    return jnp.sum(a * b, axis=-1, keepdims=True)


def _ratio(numerator: Coefficient, denominator: Coefficient, active: Array | bool) -> Coefficient:
    """0 for a sample that stands still or whose denominator vanishes."""
    safe = active & (denominator**2 >= jnp.finfo(denominator.dtype).tiny)  # a derivative's divisor
    return jnp.where(safe, numerator / jnp.where(safe, denominator, 1), 0)
