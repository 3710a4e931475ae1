"""From the adjoints of all steps, which a kernel computes one by one, to gradients at once."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from .blocks import BatchBlocks, Step


def carries_before(first: BatchBlocks, after: BatchBlocks) -> BatchBlocks:
    """The carries before every step, of the first one and those after every step."""
    return jax.tree.map(lambda c0, c: jnp.concatenate([c0, c[:-1]]), first, after)


def gradients_of_steps(
    step: Step, before: BatchBlocks, inputs: BatchBlocks, parameters: Any, adjoints: BatchBlocks
) -> tuple[BatchBlocks, Any]:
    """Those in inputs and parameters, by products over all steps and blocks."""
    every = jax.vmap(jax.vmap(step, (0, 0, None)), (0, 0, None))
    return jax.vjp(partial(every, before), inputs, parameters)[1](adjoints)
