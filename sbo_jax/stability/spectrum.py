"""The spectrum of dh_T/dh_0 = J_T ... J_1 along one sequence, without forming any J_t.

A block of tangent vectors is pushed forward through the steps by jvp and re-orthonormalised on the
way (QR). The logarithms of the triangular factors' diagonals add up to growth rates: divided by T,
the Lyapunov exponents. Pulling the block back by vjp, and forward again, is subspace iteration on
the product itself; its triangular factor then holds the leading singular values. Everything is kept
in logarithms, because a product of a thousand Jacobians leaves the range of floats.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import PRNGKey
from .._varying import as_varying, vary, varying_axes
from ._products import Basis, Growth, jacobian_products, qr_of_product, transposed_products
from .steps import Step, flat_step, num_time_steps


class JacobianSpectrum(NamedTuple):
    """The growth along dh_T/dh_0, largest first.

    Args:
      log_singular_values: natural logarithms of the leading singular values.
      lyapunov_exponents: growth rates in one pass of QR steps, in nats per time step.
    """

    log_singular_values: Float[Array, " k"]
    lyapunov_exponents: Float[Array, " k"]


def jacobian_spectrum(
    step: Step,
    carry0: Any,
    xs: Any,
    k: int,
    *,
    key: PRNGKey,
    num_iterations: int = 10,
    oversampling: int = 8,
    every: int = 1,
) -> JacobianSpectrum:
    """The k largest singular values of ``prod_t J_t`` and the k largest Lyapunov exponents.

    For one sample, in all n floats of its carry (h and the solver's state); vmap it over a batch.
    Singular values are approached from below: at once where ``k + oversampling >= n``, otherwise
    geometrically in the iterations, and slowly where many are nearly equal, as near eta = 0.

    Args:
      step: ``(carry, x) -> (carry, y)``.
      carry0: a pytree without batch axes, in float32 or float64.
      xs: time-major inputs.
      k: in 1..n.
      key: draws the first block.
      num_iterations: passes back and forth, >= 0; each costs 2 (k + oversampling) rollouts.
      oversampling: vectors beyond k, >= 0, for faster convergence.
      every: time steps from one QR factorisation to the next, >= 1.
    """
    num_steps = num_time_steps(xs)
    carry0, xs = as_varying(carry0, xs)
    carries = jax.lax.scan(lambda carry, x: (step(carry, x)[0], carry), carry0, xs)[1]
    vector = flat_step(step, carry0, jax.tree.map(lambda leaf: leaf[0], xs))[1]
    n = len(vector)
    _check(k, n, num_iterations, oversampling, every)
    _check_precision(vector)
    ends = jnp.arange(1, num_steps + 1)
    due = (ends % every == 0) | (ends == num_steps)
    last_first = jax.tree.map(lambda leaf: jnp.flip(leaf, 0), (carries, xs))

    def push(basis: Basis) -> tuple[Basis, Growth]:
        return qr_of_product(jacobian_products(step), carries, xs, due, basis)

    def iterate(_: Any, state: tuple[Basis, Growth]) -> tuple[Basis, Growth]:
        return push(
            qr_of_product(transposed_products(step), last_first[0], last_first[1], due, state[0])[0]
        )

    block = jax.random.normal(key, (n, min(n, k + oversampling)), vector.dtype)
    block = vary(block, varying_axes(vector))
    first = push(jnp.linalg.qr(block)[0])
    _, growth = jax.lax.fori_loop(0, num_iterations, iterate, first)
    lyapunov = _descending(first[1].log_diagonal / num_steps)
    return JacobianSpectrum(_log_singular_values(growth)[:k], lyapunov[:k])


def _log_singular_values(growth: Growth) -> Float[Array, " p"]:
    """By SVD of the factor; values below its rounding, well separated, from its diagonal."""
    values = jnp.linalg.svd(growth.factor, compute_uv=False)
    resolved = values > values[0] * jnp.finfo(values.dtype).eps ** 0.5
    by_svd = jnp.log(values) + growth.log_scale
    return _descending(jnp.where(resolved, by_svd, _descending(growth.log_diagonal)))


def _descending(values: Float[Array, " p"]) -> Float[Array, " p"]:
    return jnp.sort(values, descending=True)


def _check(k: int, n: int, num_iterations: int, oversampling: int, every: int) -> None:
    if not 1 <= k <= n:
        raise ValueError(f"expected 1 <= k <= {n}, the floats of the carry, got {k}; try fewer")
    if num_iterations < 0 or oversampling < 0:
        raise ValueError(
            f"expected num_iterations >= 0 and oversampling >= 0, got {num_iterations} and "
            f"{oversampling}; try 10 and 8"
        )
    if every < 1:
        raise ValueError(f"expected every >= 1, got {every}; try 1")


def _check_precision(carry: Float[Array, " n"]) -> None:
    if carry.dtype.itemsize < 4:
        raise ValueError(
            f"expected a carry in float32 or float64, as QR takes it, got {carry.dtype}; cast it"
        )
