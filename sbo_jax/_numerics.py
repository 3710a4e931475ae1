"""Maxima that propagate NaN, exact products, a bound on the spectral norm, steps in chunks."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._types import ScalarArray


def largest(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
    """`jnp.max`, but NaN if any entry is NaN."""
    is_nan = jnp.any(jnp.isnan(x), axis=axis, keepdims=keepdims)
    return jnp.where(is_nan, jnp.nan, jnp.max(x, axis=axis, keepdims=keepdims))


def smallest(x: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """`jnp.min`, but NaN if any entry is NaN."""
    return -largest(-x, axis=axis)


def in_chunks(xs: Array, chunk: int) -> Array:
    """Steps `[time, ...]` as `[chunks, chunk, ...]`; zeros fill up the last."""
    padded = jnp.pad(xs, [(0, -len(xs) % chunk)] + [(0, 0)] * (xs.ndim - 1))
    return padded.reshape(len(padded) // chunk, chunk, *xs.shape[1:])


_Function = TypeVar("_Function", bound=Callable[..., Any])


def with_exact_products(function: _Function) -> _Function:
    """`function` with float32 matrix products in float32, its derivatives' among them.

    By default a TPU rounds their operands to bfloat16, and a GPU to TF32, which moves a number by
    up to 2e-3. That is more than a bound's margin and than the tolerance of an equation.
    """

    @wraps(function)
    def exact(*args: Any, **kwargs: Any) -> Any:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return exact  # type: ignore[return-value]


# A product of float32 matrices may round the bound down; this lifts it back over the true value.
_ROUNDING_MARGIN = 1e-5


@with_exact_products
def spectral_norm_bound(matrix: Float[Array, "m n"], num_iterations: int = 6) -> ScalarArray:
    """``sigma_max(A) <= ||A_k||_F^(1/2^k)`` with ``A_{k+1} = A_k^T A_k``: k Gram iterations.

    The Frobenius norm bounds the spectral norm, and squaring the matrix squares both, so the
    ratio between them shrinks to its 2^k-th root: at most D^(1/2^(k+1)), 3.9 % for D = 128 and
    k = 6, and about 0.4 % on the matrices of an SBO-RNN. Stateless and differentiable. Power
    iteration approaches from below, so it cannot bound a step size.

    Source: Delattre et al. 2023, "Efficient bound of Lipschitz constant for convolutional layers by
    Gram iteration", algorithm 1.
    """
    # Only the first matrix may be rectangular: this Gram matrix and all later ones are n x n.
    unit, log_norm = _normalise(matrix)
    start = _square(0, (unit, log_norm))
    _, log_scale = jax.lax.fori_loop(1, num_iterations, _square, start)
    return jnp.exp(log_scale / 2**num_iterations) * (1 + _ROUNDING_MARGIN)


def _square(_: Any, state: tuple[Array, ScalarArray]) -> tuple[Array, ScalarArray]:
    """``A^T A`` normalised, and the logarithm of its scale."""
    unit, log_scale = state
    unit, log_norm = _normalise(unit.T @ unit)
    return unit, 2 * log_scale + log_norm


def _normalise(matrix: Float[Array, "m n"]) -> tuple[Float[Array, "m n"], ScalarArray]:
    """``A / ||A||_F`` and ``log ||A||_F``; `tiny` keeps value and gradient finite at A = 0."""
    tiny = jnp.finfo(matrix.dtype).tiny
    norm = jnp.sqrt(jnp.sum(matrix * matrix) + tiny)
    return matrix / norm, jnp.log(norm)
