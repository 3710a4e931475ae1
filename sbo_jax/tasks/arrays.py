"""Samples held in memory in their stored type, normalised batch by batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np

from . import splits
from ._types import DataError, Recipe, Request, Task

Samples = tuple[np.ndarray, np.ndarray]
"""Inputs [N, T, d] and labels [N] or targets [N, k]."""
_NO_FACTS: Mapping[str, Any] = MappingProxyType({})

# A feature that takes fewer different values than this is what rounding left of it.
_FEWEST_STEPS = 4


@dataclass(frozen=True, eq=False)
class ArraySource:
    """`fetch(i) = ((inputs[i] - mean) / std, targets[i])`.

    Computed in float64, then cast: the float32 of a time in seconds is off by a minute. A byte is
    exact in float32, which is faster for images.

    Attributes:
        inputs: [N, T, d], any real type (images stay uint8: a quarter of the memory).
        targets: [N] int32 or [N, k] float32.
        mean: [d] float64.
        std: [d] float64, positive.
    """

    inputs: np.ndarray
    targets: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    def fetch(self, indices: np.ndarray) -> Samples:
        """Normalised inputs [B, T, d] float32 and targets [B] or [B, k]."""
        exact = np.float32 if self.inputs.dtype.itemsize == 1 else np.float64
        inputs = self.inputs[indices].astype(exact)
        inputs -= self.mean.astype(exact)
        inputs /= self.std.astype(exact)
        return inputs.astype(np.float32, copy=False), self.targets[indices]


def moments(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per channel, [d] float64 each, of inputs [N, T, d].

    A constant channel gets std 1, so that it becomes zero and not NaN.
    """
    count = inputs.shape[0] * inputs.shape[1]
    mean = inputs.mean(axis=(0, 1), dtype=np.float64)
    # in pieces: a float64 copy of the MNIST images would take 300 MB
    pieces = np.array_split(inputs, 64)
    squares = sum(np.square(piece - mean).sum(axis=(0, 1)) for piece in pieces)
    std = np.sqrt(squares / count)
    # the sum of large numbers was rounded, that of what is left of them is not
    mean = mean + sum((piece - mean).sum(axis=(0, 1)) for piece in pieces) / count
    low, high = _range(inputs)
    constant = low == high
    return np.where(constant, low, mean), np.where(constant, 1, std)


class Splits(NamedTuple):
    """Train, validation and test with the normalisation of train."""

    train: ArraySource
    validation: ArraySource
    test: ArraySource


def normalised(
    train: Samples, validation: Samples, test: Samples, features: Sequence[str] = ()
) -> Splits:
    """Sources that share the moments of the training inputs.

    Floating-point targets are for regression; others are labels. Errors call `features` by name.

    Raises:
        DataError: a feature that rounding leaves nothing of, or that is too large once scaled.
    """
    check_spread(train[0], train[0].dtype, "feature", features)
    mean, std = moments(train[0])
    for inputs, _ in (train, validation, test):
        _check_scaled(inputs, mean, std, features)
    kind = np.float32 if np.issubdtype(train[1].dtype, np.floating) else np.int32
    sources = [
        ArraySource(inputs, targets.astype(kind), mean, std)
        for inputs, targets in (train, validation, test)
    ]
    return Splits(*sources)


def check_spread(values: np.ndarray, dtype: np.dtype, what: str, names: Sequence[str] = ()) -> None:
    """DataError for a column of values [..., d] that varies, but hardly more than `dtype` rounds.

    Integers are exact, at least until they are float64.
    """
    low, high = _range(values)
    kept = dtype if dtype.kind == "f" else np.dtype(np.float64)
    step = np.spacing(np.maximum(np.abs(low), np.abs(high)).astype(kept)).astype(np.float64)
    lost = (low < high) & (high - low < _FEWEST_STEPS * step)
    if lost.any():
        column = int(np.flatnonzero(lost)[0])
        raise DataError(
            f"expected {what}s that vary by more than rounding, got {what} "
            f"{_name(column, names)} from {low[column]!s} to {high[column]!s}, where {kept} has "
            f"steps of {step[column]:.2g}; take an offset off, choose another unit, or leave it out"
        )


def _name(column: int, names: Sequence[str]) -> str:
    return f"{column} ({names[column]!r})" if names else f"{column} (counted from 0)"


def _check_scaled(
    inputs: np.ndarray, mean: np.ndarray, std: np.ndarray, names: Sequence[str]
) -> None:
    """DataError for a feature that float32 cannot hold after ``(inputs - mean) / std``."""
    with np.errstate(divide="ignore", over="ignore"):
        sizes = np.abs((np.stack(_range(inputs)) - mean) / std).max(axis=0)
    if not (sizes <= np.finfo(np.float32).max).all():
        feature = int(np.argmax(sizes))
        raise DataError(
            f"expected features within the range of float32 once scaled, got feature "
            f"{_name(feature, names)} with a standard deviation of {std[feature]:.2g} in training "
            f"and a value {sizes[feature]:.2g} times as far from the mean; look for a wrong value"
        )


def _range(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest value of every column of [..., d], [d] float64 each."""
    axes = tuple(range(values.ndim - 1))
    return values.min(axes).astype(np.float64), values.max(axes).astype(np.float64)


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
    features: Sequence[str] = (),
) -> Task:
    """The task of three sets of samples, normalised; an epoch is a pass over the training samples.

    A train_fraction is taken first: the moments of all samples would give away samples that
    training does not have.
    """
    fraction = request.train_fraction
    if fraction is not None:
        train = _part(train, fraction, request.seed)
    data = normalised(train, validation, test, features)
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
            "mean": data.train.mean.tolist(),
            "std": data.train.std.tolist(),
            "counts": {name: len(source) for name, source in data._asdict().items()},
            **({} if fraction is None else {"train_fraction": fraction}),
        },
    )


def _part(samples: Samples, fraction: float, seed: int) -> Samples:
    """A fraction of the samples: of every class where targets are labels, else of all together."""
    inputs, targets = samples
    is_label = not np.issubdtype(targets.dtype, np.floating)
    chosen = splits.part(targets if is_label else np.zeros(len(targets)), fraction, seed)
    return inputs[chosen], targets[chosen]
