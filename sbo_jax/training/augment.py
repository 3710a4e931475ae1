"""Augmentations that are differentiable in their magnitude, for sequences [B, T, d].

Each draws from its key numbers that do not depend on the magnitude m >= 0, and is the identity at
m = 0.
"""

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Int

from .._types import ScalarArray
from ..tasks._types import Batch

Samples: TypeAlias = Float[Array, "batch time inputs"]


def jitter(inputs: Samples, magnitude: ScalarArray, key: jax.Array) -> Samples:
    """``x + m n``, n standard normal for every number; m in units of the inputs."""
    return inputs + magnitude * jax.random.normal(key, inputs.shape, inputs.dtype)


def scale(inputs: Samples, magnitude: ScalarArray, key: jax.Array) -> Samples:
    """``(1 + m n) x``, one n for every sample."""
    return (1 + magnitude * _per_sample(key, inputs)) * inputs


def shift(inputs: Samples, magnitude: ScalarArray, key: jax.Array) -> Samples:
    """``x(t - m n)``, one n for every sample; m in time steps, interpolated, the ends held."""
    steps = inputs.shape[1]
    draw = _per_sample(key, inputs)[:, 0, 0]

    def one(sample: Float[Array, "time inputs"], n: ScalarArray) -> Float[Array, "time inputs"]:
        times = jnp.arange(steps) - magnitude * n
        return jax.vmap(_at, (None, 1), 1)(times, sample)

    return jax.vmap(one)(inputs, draw)


def affine(inputs: Samples, magnitude: ScalarArray, key: jax.Array) -> Samples:
    """Square images row by row, mapped by ``I + m N`` about their centre and moved by m side/2 n.

    N and n are standard normal for every sample; interpolated bilinearly, the borders held.
    """
    side = math.isqrt(inputs.shape[1])
    rows, columns = jnp.meshgrid(jnp.arange(side), jnp.arange(side), indexing="ij")
    centre = (side - 1) / 2
    places = jnp.stack([rows.ravel(), columns.ravel()]) - centre
    matrices = jax.random.normal(key, (len(inputs), 2, 3), inputs.dtype)

    def one(image: Float[Array, "pixels inputs"], draw: Float[Array, "2 3"]) -> jax.Array:
        moved = places + magnitude * (draw[:, :2] @ places + side / 2 * draw[:, 2:]) + centre
        planes = image.T.reshape(-1, side, side)
        return jax.vmap(lambda plane: map_coordinates(plane, list(moved), 1, mode="nearest"))(
            planes
        ).T

    return jax.vmap(one)(inputs, matrices)


AUGMENTATIONS: dict[str, Callable[[Samples, ScalarArray, jax.Array], Samples]] = {
    "jitter": jitter,
    "scale": scale,
    "shift": shift,
    "affine": affine,
}


def augmented(batch: Batch, magnitudes: Mapping[str, ScalarArray | float], key: jax.Array) -> Batch:
    """The batch, changed by every augmentation whose magnitude is given; padding is not told apart.

    What follows a sequence's end repeats its last input first, which `shift` may bring into it.
    """
    inputs = jnp.asarray(batch.inputs)
    if batch.lengths is not None:
        inputs = _held(inputs, jnp.asarray(batch.lengths))
    for number, (name, augment) in enumerate(AUGMENTATIONS.items()):
        if name in magnitudes:
            own = jax.random.fold_in(key, number)
            inputs = augment(inputs, jnp.asarray(magnitudes[name]), own)
    return batch._replace(inputs=inputs)


def _held(inputs: Samples, lengths: Int[Array, " batch"]) -> Samples:
    """The sequences, the last input of each repeated to the end."""
    times = jnp.minimum(jnp.arange(inputs.shape[1])[None], lengths[:, None] - 1)
    return jnp.take_along_axis(inputs, times[:, :, None], axis=1)


def _per_sample(key: jax.Array, inputs: Samples) -> Float[Array, "batch 1 1"]:
    return jax.random.normal(key, (len(inputs), 1, 1), inputs.dtype)


def _at(times: Float[Array, " time"], values: Float[Array, " time"]) -> Float[Array, " time"]:
    return map_coordinates(values, [times], 1, mode="nearest")
