"""Samples that are changed anew in every step, where parameters are trained and nowhere else."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from ..tasks._types import Batch
from .augment import augmented
from .method import GraphDef, Method, MethodState, Params, TrainState, UpperInfo
from .objectives import Objective


class AugmentingState(NamedTuple):
    """What the method carries, and the steps so far."""

    inner: MethodState
    num_steps: Int[Array, ""]


def with_augmented_samples(
    method: Method, magnitudes: Sequence[tuple[str, float]], seed: int = 0
) -> Method:
    """`method` on samples that are changed as `augment.augmented` does; evaluations do not see it.

    Args:
      method: moves the parameters, and keeps them as they are.
      magnitudes: names out of `augment.AUGMENTATIONS`, and how much each changes.
      seed: draws them, together with the step, and with the device on a mesh.
    """

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
        key = jax.random.fold_in(jax.random.key(seed), num_steps)
        if axis_name is not None:
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        own = state._replace(method_state=inner)
        changed = augmented(batch, dict(magnitudes), key)
        new, info = method.step(objective, graphdef, own, changed, axis_name=axis_name)
        return new._replace(method_state=AugmentingState(new.method_state, num_steps + 1)), info

    return Method(init, step)
