"""The shapes data takes on its way to a training loop; no logic."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from .._types import AnyArray

PathLike = str | os.PathLike[str]


class DataError(ValueError):
    """A fault in what the user asked for or supplied, told in one sentence."""


class Batch(NamedTuple):
    """B samples of T steps; padding has weight 0 and must count for nothing."""

    inputs: AnyArray  # [B, T, d] float32, or tokens [B, T] int32 (perplexity)
    targets: AnyArray  # [B] int32 (accuracy), [B, k] float32 (mse) or [B, T] int32 (perplexity)
    weights: AnyArray  # float32, [B] or of every token [B, T]; 0 for padding, else 1


@runtime_checkable
class Source(Protocol):
    """Random access to samples by arrays of indices."""

    def __len__(self) -> int: ...

    def fetch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs [B, T, d] or tokens [B, T], and targets, of the samples at indices [B]."""
        ...


@dataclass(frozen=True)
class Recipe:
    """Suggested training settings; a caller may override each.

    Attributes:
        epochs: passes over `Task.epoch_size` samples.
        batch_size: samples per training step.
        upper_rate: Adam's step size for the parameters.
    """

    epochs: int
    batch_size: int
    upper_rate: float


@dataclass(frozen=True)
class Task:
    """Three sources, their shapes, and what a result on them must record.

    Attributes:
        length: T, time steps of a sample.
        in_features: d, inputs per time step, or how many different tokens there are.
        out_features: classes (accuracy), regression targets (mse) or tokens (perplexity).
        epoch_size: training samples that count as one epoch.
        facts: split seed, normalisation, counts, ...: JSON-able.
    """

    name: str
    train: Source
    validation: Source
    test: Source
    length: int
    in_features: int
    out_features: int
    metric: Literal["accuracy", "mse", "perplexity"]
    epoch_size: int
    recipe: Recipe
    facts: Mapping[str, Any]
