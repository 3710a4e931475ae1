"""Samples that are drawn when they are fetched, and stored nowhere."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import jax
import numpy as np

from .._types import Request, Task

# From a random key and a number of time steps to inputs [T, d] and a target, [k] or [T].
Draw: TypeAlias = Callable[[jax.Array, int], tuple[jax.Array, jax.Array]]

# (split number, samples); no training run comes near the end of the first
_TRAIN, _VALIDATION, _TEST = (0, 2**30), (1, 1000), (2, 2000)
_EPOCH_SIZE = 6400


@dataclass(frozen=True)
class GeneratedSource:
    """Sample i is a pure function of (seed, split, i), the same on every machine."""

    draw: Draw
    length: int
    seed: int
    split: int
    size: int

    def __len__(self) -> int:
        return self.size

    def fetch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs [B, T, d] and targets [B, k] or [B, T]."""
        with jax.default_device(_host()):
            inputs, targets = _samples(
                self.draw,
                self.length,
                np.uint32(self.seed),
                np.uint32(self.split),
                np.asarray(indices, np.uint32),
            )
        return np.asarray(inputs), np.asarray(targets)


def generated_task(
    name: str, draw: Draw, length: int, request: Request, facts: Mapping[str, Any], **shape: Any
) -> Task:
    """The task of samples that `draw` makes; one epoch is 6400 fresh ones.

    With a train_fraction, training has a fixed pool of samples instead: that part of an epoch.
    `shape` is what else a `Task` states.
    """
    train, validation, test = (
        GeneratedSource(draw, length, request.seed, split, size)
        for split, size in (_TRAIN, _VALIDATION, _TEST)
    )
    epoch_size, fraction = _EPOCH_SIZE, request.train_fraction
    if fraction is not None:
        epoch_size = max(1, round(fraction * _EPOCH_SIZE))
        train = replace(train, size=epoch_size)
    counts = {"train": len(train), "validation": len(validation), "test": len(test)}
    known = {"split_seed": request.seed, "length": length, **facts, "counts": counts}
    return Task(
        name=name,
        train=train,
        validation=validation,
        test=test,
        length=length,
        epoch_size=epoch_size,
        facts=known if fraction is None else known | {"train_fraction": fraction},
        **shape,
    )


@partial(jax.jit, static_argnums=(0, 1))
def _samples(
    draw: Draw, length: int, seed: jax.Array, split: jax.Array, indices: jax.Array
) -> tuple[jax.Array, jax.Array]:
    key = jax.random.fold_in(jax.random.key(seed), split)
    return jax.vmap(lambda index: draw(jax.random.fold_in(key, index), length))(indices)


def _host() -> jax.Device | None:
    """The CPU if JAX has one: on an accelerator, samples would queue behind training steps."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None
