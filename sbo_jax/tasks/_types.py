"""The shapes data takes on its way to a training loop; no logic."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from .._types import AnyArray

PathLike = str | os.PathLike[str]


class DataError(ValueError):
    """A fault in the request or in the data supplied, explained in one sentence."""


class Batch(NamedTuple):
    """B samples of T steps; padding has weight 0 and contributes nothing.

    Attributes:
        inputs: [B, T, d] float32, or tokens [B, T] int32 (perplexity).
        targets: [B] int32 (accuracy), [B, k] float32 (mse), or one for every step: [B, T] int32
            (perplexity, accuracy) or [B, T, k] float32 (mse).
        weights: [B], or of every step [B, T], float32; 0 for padding, else 1.
        lengths: [B] int32, the steps of each sample before padding; None where all have T.
    """

    inputs: AnyArray
    targets: AnyArray
    weights: AnyArray
    lengths: AnyArray | None = None


@runtime_checkable
class Source(Protocol):
    """Random access to samples by arrays of indices."""

    def __len__(self) -> int: ...

    def fetch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs [B, T, d] or tokens [B, T], and targets, for indices [B].

        Classes [B, T] of every step are -1 where a step has none, and does not count.
        """
        ...


@dataclass(frozen=True)
class Request:
    """The arguments of `load`, as a task's loader receives them.

    Attributes:
        length: time steps T; None for the task's default.
        train_fraction: the loader keeps this part of the training samples and records it in the
            facts of the task; None for all.
        folder: the user's own data set.
        data_dir: where prepared records are; None for the default of TFDS.
        raw_dir: where original files are; None to download them.
    """

    seed: int = 0
    length: int | None = None
    train_fraction: float | None = None
    folder: PathLike | None = None
    data_dir: PathLike | None = None
    raw_dir: PathLike | None = None


@dataclass(frozen=True)
class Recipe:
    """Suggested training settings; a caller may override each.

    Attributes:
        epochs: passes over `Task.epoch_size` samples.
        batch_size: samples per training step.
        upper_rate: Adam's step size for the parameters.
        updates: training steps in all, which decide the epochs whatever the batch size; None where
            the epochs count.
        patience: epochs without a better validation after which training stops; 0 for none.
        select: what makes an epoch better: "metric", "loss", or "metric_then_loss" for the metric
            with ties broken by the loss; "last" keeps the last epoch, whatever its validation.
        average: weight of earlier parameters in the moving average that is kept, in [0, 1).
        label_smoothing: part of a label that all classes share in the training loss, in [0, 1).
    """

    epochs: int
    batch_size: int
    upper_rate: float
    updates: int | None = None
    patience: int = 0
    select: Literal["metric", "loss", "metric_then_loss", "last"] = "metric"
    average: float = 0.0
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class Task:
    """Three sources, their shapes, and the facts that a result on them must record.

    Attributes:
        length: T, time steps of the longest sample.
        in_features: d, inputs per time step, or the number of different tokens.
        out_features: classes (accuracy), regression targets (mse) or tokens (perplexity).
        epoch_size: training samples that count as one epoch, several passes where they are few.
        per_step: whether every step has a target of its own, and not the sample.
        is_equal: whether all samples have `length` steps.
        target_std: [k], the unit of targets that are scaled; None where they are as they were.
        forecasts: whether targets are later inputs, which a model must not have read.
        layout: how files like those of the samples are read, as dataset.toml has it and
            JSON-serialisable; None for a task of the catalogue.
        facts: split seed, normalisation, counts, ...; JSON-serialisable.
        copy: a sentence about the prepared copy of the data; "" where there is none.
        test_groups: [N], the group of every test sample, such as a person; None where there are
            none.
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
    per_step: bool = False
    is_equal: bool = True
    target_std: tuple[float, ...] | None = None
    forecasts: bool = False
    layout: Mapping[str, Any] | None = None
    copy: str = ""
    test_groups: np.ndarray | None = field(default=None, compare=False)
