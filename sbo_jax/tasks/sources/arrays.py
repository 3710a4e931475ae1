"""Samples held in memory in their stored type, normalised batch by batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np

from .. import splits
from .._types import Recipe, Request, Task
from . import scaling
from .scaling import Scaler
from .spread import ends, spread

Samples = tuple[np.ndarray, np.ndarray]
"""Inputs [N, T, d] and labels [N] or targets [N, k]."""
_NO_FACTS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class ArraySource:
    """`fetch(i) = (scaler(inputs[i]), targets[i])`.

    Attributes:
        inputs: [N, T, d], any real type (images stay uint8: a quarter of the memory).
        targets: [N] int32 or [N, k] float32.
    """

    inputs: np.ndarray
    targets: np.ndarray
    scaler: Scaler

    def __len__(self) -> int:
        return len(self.targets)

    def fetch(self, indices: np.ndarray) -> Samples:
        """Scaled inputs [B, T, d] float32 and targets [B] or [B, k]."""
        return self.scaler(self.inputs[indices]), self.targets[indices]


class Splits(NamedTuple):
    """Train, validation and test with the normalisation of train."""

    train: ArraySource
    validation: ArraySource
    test: ArraySource


def normalised(train: Samples, validation: Samples, test: Samples) -> Splits:
    """Sources that share the moments of the training inputs.

    Floating-point targets are for regression; others are labels.

    Raises:
        DataError: a feature that rounding leaves nothing of, or that is too large once scaled.
    """
    found = spread(scaling.pieces(train[0]))
    scaler = scaling.fitted(found)
    held = (scaling.pieces(inputs) for inputs, _ in (validation, test))
    for low_and_high in ((found.low, found.high), *map(ends, held)):
        scaling.check_scaled(scaler, low_and_high)
    kind = np.float32 if np.issubdtype(train[1].dtype, np.floating) else np.int32
    sources = [
        ArraySource(inputs, targets.astype(kind), scaler)
        for inputs, targets in (train, validation, test)
    ]
    return Splits(*sources)


def stratified_validation(samples: Samples, seed: int) -> tuple[Samples, Samples]:
    """Samples for training and for validation: a fifth, with the same fraction of every class."""
    inputs, labels = samples
    held_out = round(splits.VALIDATION_FRACTION * len(labels))
    kept, held = splits.stratified(labels, held_out, seed)
    return (inputs[kept], labels[kept]), (inputs[held], labels[held])


def in_memory_task(
    name: str,
    train: Samples,
    validation: Samples,
    test: Samples,
    request: Request,
    *,
    out_features: int,
    recipe: Recipe,
    metric: Literal["accuracy", "mse"] = "accuracy",
    facts: Mapping[str, Any] = _NO_FACTS,
) -> Task:
    """The task of three sets of samples, normalised; an epoch is a pass over the training samples.

    A train_fraction is taken first: the moments of all samples would give away samples that
    training does not have.
    """
    fraction = request.train_fraction
    if fraction is not None:
        chosen = splits.part_of(train[1], fraction, request.seed)
        train = train[0][chosen], train[1][chosen]
    data = normalised(train, validation, test)
    _, length, in_features = train[0].shape
    return Task(
        name=name,
        **data._asdict(),
        length=length,
        in_features=in_features,
        out_features=out_features,
        metric=metric,
        epoch_size=len(data.train),
        recipe=recipe,
        facts={
            "split_seed": request.seed,
            **facts,
            **scaling.facts(data.train.scaler),
            "counts": {name: len(source) for name, source in data._asdict().items()},
            **({} if fraction is None else {"train_fraction": fraction}),
        },
    )
