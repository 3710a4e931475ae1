"""Sequences [B, T, d] that are changed where parameters are trained, and nowhere else.

An augmentation is differentiable in its magnitude m >= 0: it draws from its key numbers that do not
depend on m, and is the identity at m = 0.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Int

from .._checks import check_choice
from .._types import ScalarArray
from ..tasks._types import Batch
from .method import GraphDef, Method, MethodState, Params, TrainState, UpperInfo
from .objectives import Objective
from .step import own_key

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
    ValueError for a number of time steps that is no square.
    """
    side = math.isqrt(inputs.shape[1])
    if side**2 != inputs.shape[1]:
        raise ValueError(f"expected square images row by row, got {inputs.shape[1]} time steps")
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
    """The batch, changed by every augmentation whose magnitude is given; other names are ignored.

    Padding becomes the last input of its sequence first, as `shift` may bring it into the sequence.
    """
    inputs = jnp.asarray(batch.inputs)
    if batch.lengths is not None:
        inputs = _held(inputs, jnp.asarray(batch.lengths))
    for number, (name, augment) in enumerate(AUGMENTATIONS.items()):
        if name in magnitudes:
            own = jax.random.fold_in(key, number)
            inputs = augment(inputs, jnp.asarray(magnitudes[name]), own)
    return batch._replace(inputs=inputs)


class AugmentingState(NamedTuple):
    """What the method carries, and the steps so far."""

    inner: MethodState
    num_steps: Int[Array, ""]


def with_augmented_samples(
    method: Method, magnitudes: Sequence[tuple[str, float]], seed: int = 0
) -> Method:
    """`method` on samples that are changed as `augmented` does; evaluations do not see it.

    Args:
      method: moves the parameters.
      magnitudes: names out of `AUGMENTATIONS`, and how much each changes.
      seed: draws them, together with the step, and with the device on a mesh.

    Raises:
      ValueError: another name.
    """
    for name, _ in magnitudes:
        check_choice("augmentation", name, AUGMENTATIONS)

    def init(params: Params) -> AugmentingState:
        return AugmentingState(method.init(params), jnp.zeros((), jnp.int32))

    def step(
        objective: Objective,
        graphdef: GraphDef,
        state: TrainState,
        batch: Batch,
        *,
        axis_name: str | None = None,
    ) -> tuple[TrainState, UpperInfo]:
        inner, num_steps = state.method_state
        key = own_key(jax.random.fold_in(jax.random.key(seed), num_steps), axis_name)
        own = state._replace(method_state=inner)
        changed = augmented(batch, dict(magnitudes), key)
        new, info = method.step(objective, graphdef, own, changed, axis_name=axis_name)
        return new._replace(method_state=AugmentingState(new.method_state, num_steps + 1)), info

    def kept(state: TrainState) -> TrainState:
        inner = method.kept(state._replace(method_state=state.method_state.inner))
        return inner._replace(method_state=state.method_state)

    return Method(init, step, kept)


def _held(inputs: Samples, lengths: Int[Array, " batch"]) -> Samples:
    """The sequences, the last input of each repeated to the end."""
    times = jnp.minimum(jnp.arange(inputs.shape[1])[None], lengths[:, None] - 1)
    return jnp.take_along_axis(inputs, times[:, :, None], axis=1)


def _per_sample(key: jax.Array, inputs: Samples) -> Float[Array, "batch 1 1"]:
    return jax.random.normal(key, (len(inputs), 1, 1), inputs.dtype)


def _at(times: Float[Array, " time"], values: Float[Array, " time"]) -> Float[Array, " time"]:
    return map_coordinates(values, [times], 1, mode="nearest")
