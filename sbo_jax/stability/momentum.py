"""What momentum allows: one step on one eigenvalue, and a product of any steps.

*One step.* On an eigenvector of a fixed Hessian, with eigenvalue lam in [0, L], a step is a 2 x 2
matrix, its companion; with x = eta lam its eigenvalues are the roots of

* heavy ball:  z^2 - (1 + mu - x) z + mu;
* Nesterov:    z^2 - (1 + mu)(1 - x) z + mu (1 - x).

They stay in the closed unit disc up to the *step limit* of eta L. With one eta and mu per unit they
do so for max(eta) L <= 1: in the coordinates P^(-1/2) h, P = diag(eta), with M = diag(mu) and
S = P^(1/2) H P^(1/2), an eigenpair (z, v) of the step solves ``z^2 v - z (I + M - S) v + M v = 0``
for heavy ball and ``(I - S)^(-1) z^2 v - z (I + M) v + M v = 0`` for Nesterov's look-ahead points.
All matrices are symmetric: from the left by v^* each is the polynomial above, at some mu and x of
the allowed intervals.

A sequence is a product of steps with *different* Hessians, about which the unit disc says nothing:
the steps do not commute and none is symmetric. Products do explode in practice, also at constant
input, where a ReLU switches; see `jacobian_spectrum`.

*Any product.* A step is a linear filter with transfer function -eta G(z) from gradient to iterate,

* heavy ball:  G(z) = z / ((z - 1)(z - mu)),
* Nesterov:    G(z) = ((1 + mu) z - mu) / ((z - 1)(z - mu)),

closed by some symmetric H_t between 0 and L. By the circle criterion one quadratic form of the
state decreases under all of them if Re G >= -1 / (eta L) on the unit circle. The minimum is at
z = 1, which gives the *product limit* of eta L. Below it no product grows by more than a constant,
whatever T and the inputs; per unit it is enough that every unit keeps its own limit. The constant
is not given here, it grows as mu comes near 1, and there is no floor. The limit is sufficient, not
necessary.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import ScalarArray

Real: TypeAlias = float | Float[Array, "..."]
Companion: TypeAlias = Callable[[Real, Real, Real], Array]
Limit: TypeAlias = Callable[[Real], Array]


class Momentum(NamedTuple):
    """A kind of momentum; ``0 <= mu < 1``, ``lam >= 0``.

    Args:
      companion: ``(eta, mu, lam) -> [*grid, 2, 2]``, a step on one eigenvalue.
      step_limit: ``mu -> eta L`` up to which no step has an eigenvalue outside the unit disc.
      product_limit: ``mu -> eta L`` up to which no product of steps grows without bound.
    """

    companion: Companion
    step_limit: Limit
    product_limit: Limit


def heavy_ball_companion(eta: Real, mu: Real, lam: Real) -> Float[Array, "*out 2 2"]:
    """``(h, m) -> ((1 - eta lam) h + mu m, mu m - eta lam h)``."""
    x, mu = jnp.broadcast_arrays(jnp.multiply(eta, lam), mu)
    return _stack([[1 - x, mu], [-x, mu]])


def nesterov_companion(eta: Real, mu: Real, lam: Real) -> Float[Array, "*out 2 2"]:
    """``(h, m) -> ((1 + mu)(1 - eta lam) h - mu m, (1 - eta lam) h)``, m the look-ahead point."""
    x, mu = jnp.broadcast_arrays(jnp.multiply(eta, lam), mu)
    return _stack([[(1 + mu) * (1 - x), -mu], [1 - x, jnp.zeros_like(x)]])


def heavy_ball_step_limit(mu: Real) -> Float[Array, "*out"]:
    """``2 (1 + mu)``."""
    return 2 * (1 + jnp.asarray(mu))


def nesterov_step_limit(mu: Real) -> Float[Array, "*out"]:
    """``2 (1 + mu) / (1 + 2 mu)``: falls from 2 to 4/3 as mu grows."""
    mu = jnp.asarray(mu)
    return 2 * (1 + mu) / (1 + 2 * mu)


def heavy_ball_product_limit(mu: Real) -> Float[Array, "*out"]:
    """``2 (1 - mu)^2 / (1 + mu)``: 2 without momentum, 1/3 at mu = 0.5, 0.011 at 0.9."""
    mu = jnp.asarray(mu)
    return 2 * (1 - mu) ** 2 / (1 + mu)


def nesterov_product_limit(mu: Real) -> Float[Array, "*out"]:
    """``2 (1 - mu)^2 / (1 - mu + 2 mu^2)``: 2 without momentum, 1/2 at mu = 0.5, 0.012 at 0.9."""
    mu = jnp.asarray(mu)
    return 2 * (1 - mu) ** 2 / (1 - mu + 2 * mu**2)


HEAVY_BALL = Momentum(heavy_ball_companion, heavy_ball_step_limit, heavy_ball_product_limit)
"""Companion matrix and limits of `sbo_jax.lower.heavy_ball`."""
NESTEROV = Momentum(nesterov_companion, nesterov_step_limit, nesterov_product_limit)
"""Companion matrix and limits of `sbo_jax.lower.nesterov`."""


def spectral_radius(companion: Companion, eta: Real, mu: Real, lam: Real) -> Float[Array, "*out"]:
    """``max |z|`` over the two eigenvalues z of a step on one eigenvalue lam of the Hessian."""
    matrix = companion(eta, mu, lam)
    half_trace = 0.5 * (matrix[..., 0, 0] + matrix[..., 1, 1])
    determinant = matrix[..., 0, 0] * matrix[..., 1, 1] - matrix[..., 0, 1] * matrix[..., 1, 0]
    discriminant = half_trace**2 - determinant
    real = jnp.abs(half_trace) + jnp.sqrt(jnp.maximum(discriminant, 0))
    return jnp.where(discriminant >= 0, real, jnp.sqrt(jnp.abs(determinant)))


def worst_radius(
    companion: Companion, eta: Real, mu: Real, smoothness: float | ScalarArray
) -> Float[Array, "*out"]:
    """``max over lam in [0, L]`` of `spectral_radius`; 1 wherever every step is stable.

    eta and mu may be grids of one shape: the region of stable steps is where the result is 1. The
    radius falls and then rises with lam, so that the maximum is at an end; at lam = 0 it is 1.
    """
    return jnp.maximum(1.0, spectral_radius(companion, eta, mu, smoothness))


def _stack(rows: list[list[jax.Array]]) -> jax.Array:
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
