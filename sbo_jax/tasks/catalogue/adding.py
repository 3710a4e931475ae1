"""The adding problem: remember two marked numbers among T and give their sum.

Predicting 1 always gives MSE 1/6, the variance of the sum of two uniform numbers (Hochreiter &
Schmidhuber 1997).
"""

import jax
import jax.numpy as jnp

from .._types import DataError, Recipe, Request, Task
from ..sources.generated import generated_task

DEFAULT_LENGTH = 100


def load(request: Request) -> Task:
    """The adding problem; see `generated_task` for epochs and fractions."""
    length = DEFAULT_LENGTH if request.length is None else request.length
    if length < 2:
        raise DataError(
            f"expected length >= 2 (one mark in each half), got {length}; try {DEFAULT_LENGTH}"
        )
    return generated_task(
        "adding",
        draw,
        length,
        request,
        facts={},
        in_features=2,
        out_features=1,
        metric="mse",
        recipe=Recipe(epochs=15, batch_size=64, upper_rate=1e-2),
    )


def draw(key: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    """Inputs [T, 2] = (uniform(0, 1), marks), target [1] = sum of the marked values.

    One mark falls uniformly among the first T // 2 steps, one among the others.
    """
    value_key, first_key, second_key = jax.random.split(key, 3)
    values = jax.random.uniform(value_key, (length,), jnp.float32)
    first = jax.random.randint(first_key, (), 0, length // 2, jnp.int32)
    second = jax.random.randint(second_key, (), length // 2, length, jnp.int32)
    marks = jnp.zeros(length, jnp.float32).at[jnp.stack([first, second])].set(1.0)
    return jnp.stack([values, marks], axis=-1), (values[first] + values[second])[None]
