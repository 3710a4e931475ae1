"""Largest numbers, of which NaN is one: XLA on CPU drops NaN from the maximum of a large array.

See https://github.com/openxla/xla/issues/21461.
"""

import jax.numpy as jnp
from jaxtyping import Array


def largest(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
    """`jnp.max`, and NaN where there is one."""
    is_nan = jnp.any(jnp.isnan(x), axis=axis, keepdims=keepdims)
    return jnp.where(is_nan, jnp.nan, jnp.max(x, axis=axis, keepdims=keepdims))


def smallest(x: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """`jnp.min`, and NaN where there is one."""
    return -largest(-x, axis=axis)
