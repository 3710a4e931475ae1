"""Sequences with the steps that a mask leaves out moved to their end, and back."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from .._types import MaskSequence


def compacted(
    xs: Shaped[Array, "time *batch features"], valid: MaskSequence
) -> tuple[Shaped[Array, "time *batch features"], MaskSequence]:
    """The valid steps of each sample in their order, then the others; and which are valid now."""
    order = jnp.argsort(~valid, axis=0, stable=True)
    return at_steps(xs, order), jnp.take_along_axis(valid, order, axis=0)


def spread_out(
    ys: Float[Array, "time *batch features"], valid: MaskSequence
) -> Float[Array, "time *batch features"]:
    """What `compacted` steps gave, where they were; a step left out repeats the one before, or 0.

    Args:
      ys: one for every compacted step.
      valid: as `compacted` was given it.
    """
    index = jnp.cumsum(valid, axis=0) - 1
    repeated = at_steps(ys, jnp.maximum(index, 0))
    return jnp.where((index >= 0)[..., None], repeated, jnp.zeros((), ys.dtype))


def at_steps(xs: Array, steps: Array) -> Array:
    """`[steps, *batch, features]` of `[time, *batch, features]`: each sample's own steps."""
    return jnp.take_along_axis(xs, steps[..., None], axis=0)
