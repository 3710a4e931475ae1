"""The adding problem: remember two marked numbers among T and give their sum.

Samples are generated, not stored: sample i of a split is a pure function of (seed, split, i), the
same on every machine. Predicting 1 always gives MSE 1/6, the variance of the sum of two uniform
numbers (Hochreiter & Schmidhuber 1997).
"""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from .._types import DataError, Recipe, Request, Task

DEFAULT_LENGTH = 100
# (split number, samples); no training run comes near the end of the first
_TRAIN, _VALIDATION, _TEST = (0, 2**30), (1, 1000), (2, 2000)
_EPOCH_SIZE = 6400


@dataclass(frozen=True)
class AddingSource:
    """Sample i: inputs [T, 2] = (uniform(0, 1), marks), target [1] = sum of the marked values.

    One mark falls uniformly among the first T // 2 steps, one among the others.
    """

    length: int
    seed: int
    split: int
    size: int

    def __len__(self) -> int:
        return self.size

    def fetch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs [B, T, 2] and targets [B, 1], float32."""
        with jax.default_device(_host()):
            inputs, targets = _samples(
                np.uint32(self.seed),
                np.uint32(self.split),
                np.asarray(indices, np.uint32),
                self.length,
            )
        return np.asarray(inputs), np.asarray(targets)


def load(request: Request) -> Task:
    """The adding problem; one epoch is 6400 fresh samples.

    With a train_fraction, training has a fixed pool of samples instead: that part of an epoch.
    """
    length = DEFAULT_LENGTH if request.length is None else request.length
    if length < 2:
        raise DataError(
            f"expected length >= 2 (one mark in each half), got {length}; try {DEFAULT_LENGTH}"
        )
    train, validation, test = (
        AddingSource(length, request.seed, split, size)
        for split, size in (_TRAIN, _VALIDATION, _TEST)
    )
    epoch_size, fraction = _EPOCH_SIZE, request.train_fraction
    if fraction is not None:
        epoch_size = max(1, round(fraction * _EPOCH_SIZE))
        train = replace(train, size=epoch_size)
    counts = {"train": len(train), "validation": len(validation), "test": len(test)}
    facts = {"split_seed": request.seed, "length": length, "counts": counts}
    return Task(
        name="adding",
        train=train,
        validation=validation,
        test=test,
        length=length,
        in_features=2,
        out_features=1,
        metric="mse",
        epoch_size=epoch_size,
        recipe=Recipe(epochs=15, batch_size=64, upper_rate=1e-2),
        facts=facts if fraction is None else facts | {"train_fraction": fraction},
    )


@partial(jax.jit, static_argnames="length")
def _samples(
    seed: jax.Array, split: jax.Array, indices: jax.Array, length: int
) -> tuple[jax.Array, jax.Array]:
    key = jax.random.fold_in(jax.random.key(seed), split)
    return jax.vmap(lambda index: _sample(jax.random.fold_in(key, index), length))(indices)


def _sample(key: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    value_key, first_key, second_key = jax.random.split(key, 3)
    values = jax.random.uniform(value_key, (length,), jnp.float32)
    first = jax.random.randint(first_key, (), 0, length // 2, jnp.int32)
    second = jax.random.randint(second_key, (), length // 2, length, jnp.int32)
    marks = jnp.zeros(length, jnp.float32).at[jnp.stack([first, second])].set(1.0)
    return jnp.stack([values, marks], axis=-1), (values[first] + values[second])[None]


def _host() -> jax.Device | None:
    """The CPU if JAX has one: on an accelerator, samples would queue behind training steps."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None
