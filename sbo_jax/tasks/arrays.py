"""Samples held in memory in their stored type, normalised batch by batch."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class ArraySource:
    """`fetch(i) = ((inputs[i] - mean) / std, targets[i])`.

    Attributes:
        inputs: [N, T, d], any real type (images stay uint8: a quarter of the memory).
        targets: [N] int32 or [N, k] float32.
        mean: [d] float32.
        std: [d] float32, positive.
    """

    inputs: np.ndarray
    targets: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    def fetch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Normalised inputs [B, T, d] float32 and targets [B] or [B, k]."""
        inputs = self.inputs[indices].astype(np.float32)
        inputs -= self.mean
        inputs /= self.std
        return inputs, self.targets[indices]


def moments(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per channel, [d] float32 each, of inputs [N, T, d].

    A constant channel gets std 1, so that it becomes zero and not NaN.
    """
    mean = inputs.mean(axis=(0, 1), dtype=np.float64)
    # in pieces: a float64 copy of the MNIST images would take 300 MB
    squares = sum(np.square(piece - mean).sum(axis=(0, 1)) for piece in np.array_split(inputs, 64))
    std = np.sqrt(squares / (inputs.shape[0] * inputs.shape[1]))
    return mean.astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Splits:
    """Train, validation and test with the normalisation of train."""

    train: ArraySource
    validation: ArraySource
    test: ArraySource

    def facts(self) -> dict[str, object]:
        """Normalisation and sizes, JSON-able."""
        return {
            "mean": self.train.mean.tolist(),
            "std": self.train.std.tolist(),
            "counts": {
                "train": len(self.train),
                "validation": len(self.validation),
                "test": len(self.test),
            },
        }


def normalised(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
) -> Splits:
    """Three (inputs, targets) pairs as sources that share the moments of the first.

    Targets of a floating type are regressed; others are labels.
    """
    mean, std = moments(train[0])
    kind = np.float32 if np.issubdtype(train[1].dtype, np.floating) else np.int32
    sources = [
        ArraySource(inputs, targets.astype(kind), mean, std)
        for inputs, targets in (train, validation, test)
    ]
    return Splits(*sources)
