"""Multi-query associative recall: which value stood beside this key, up to T steps ago?

A sequence begins with T / 8 pairs, each a key and then its value; no value comes twice. Later every
key comes once more, at a random step, and asks for its value; no other step counts, and most are
blank. A guess among the values shown is right in one of T / 8 cases.

Source: Arora et al. 2023 (Zoology), with fewer tokens, blank steps in place of random tokens, and
queries at any distance with the same probability.
"""

import jax
import jax.numpy as jnp

from .._types import DataError, Recipe, Request, Task
from ..sources.generated import generated_task
from ..sources.sequences import NO_CLASS

DEFAULT_LENGTH = 256
_STEPS_PER_PAIR = 8
_KEYS, _VALUES = 128, 128


def load(request: Request) -> Task:
    """Associative recall; see `generated_task` for epochs and fractions."""
    length = DEFAULT_LENGTH if request.length is None else request.length
    longest = _STEPS_PER_PAIR * _KEYS
    if not _STEPS_PER_PAIR <= length <= longest:
        raise DataError(
            f"expected {_STEPS_PER_PAIR} <= length <= {longest} (a pair for every "
            f"{_STEPS_PER_PAIR} steps, and {_KEYS} keys), got {length}; try {DEFAULT_LENGTH}"
        )
    return generated_task(
        "recall",
        draw,
        length,
        request,
        facts={"pairs": length // _STEPS_PER_PAIR},
        in_features=_KEYS + _VALUES,
        out_features=_VALUES,
        metric="accuracy",
        per_step=True,
        recipe=Recipe(epochs=15, batch_size=64, upper_rate=3e-3),
    )


def draw(key: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    """Inputs [T, 256], a one for the key or the value of a step; targets [T], values asked for."""
    pairs = length // _STEPS_PER_PAIR
    keys, values, order, steps = jax.random.split(key, 4)
    keys = jax.random.permutation(keys, _KEYS)[:pairs]
    values = jax.random.permutation(values, _VALUES)[:pairs]
    asked = jax.random.permutation(order, pairs)
    steps = 2 * pairs + jax.random.permutation(steps, length - 2 * pairs)[:pairs]
    shown = jnp.stack([keys, _KEYS + values], axis=1).ravel()
    tokens = jnp.full(length, -1).at[: 2 * pairs].set(shown).at[steps].set(keys[asked])
    targets = jnp.full(length, NO_CLASS).at[steps].set(values[asked])
    inputs = jax.nn.one_hot(tokens, _KEYS + _VALUES, dtype=jnp.float32)
    return inputs, targets.astype(jnp.int32)
