"""Tasks of sequences of unequal lengths: batches that are padded, but hardly."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from .. import splits
from .._types import Batch, Recipe, Request, Task
from . import buckets, scaling
from .ragged import Ragged
from .scaling import Scaler
from .spread import ends, spread
from .texts import taken

Targets: TypeAlias = np.ndarray | Ragged
NO_CLASS = -1
"""The class of a step that has none."""


class Labelled(NamedTuple):
    """Sequences [T_i, d] with a target each, [N] or [N, k], or one for every step.

    `ids` [N] name the sequences, where they have names.
    """

    inputs: Ragged
    targets: Targets
    ids: Sequence[str] | None = None

    def take(self, rows: np.ndarray) -> "Labelled":
        """The sequences at these indices."""
        targets = self.targets
        own = targets.take(rows) if isinstance(targets, Ragged) else targets[rows]
        ids = None if self.ids is None else taken(self.ids, rows)
        return Labelled(self.inputs.take(rows), own, ids)


@dataclass(frozen=True, eq=False)
class SequenceSource:
    """Scaled sequences, padded to one of few lengths.

    Attributes:
        targets: classes, `NO_CLASS` for none, or numbers, NaN for none; of every step, or of fewer
            steps than there are, and then those at the end have none.
        target_scaler: of numbers; None for classes.
        buckets: what sequences are padded to; the last one holds the longest.
        is_equal: whether all sequences of the task have the length of the only bucket.
        ids: [N], what names the sequences in the files of a user; None where they have no names.
    """

    inputs: Ragged
    targets: Targets
    scaler: Scaler
    target_scaler: Scaler | None
    buckets: tuple[int, ...]
    is_equal: bool
    ids: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def fetch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs [B, T, d] float32 and targets, padded with 0 to the longest of these.

        A step without a class has 0 as well; the weights of `batch` tell.
        """
        batch = self.batch(indices, int(self.inputs.lengths[indices].max()))
        return np.asarray(batch.inputs), np.asarray(batch.targets)

    def num_steps(self, indices: np.ndarray) -> int:
        """The shortest bucket that holds all of these."""
        longest = self.inputs.lengths[indices].max()
        return next(bucket for bucket in self.buckets if bucket >= longest)

    def batch(self, indices: np.ndarray, num_steps: int) -> Batch:
        """These samples, padded to so many steps with zeros, which count nothing."""
        chosen = self.inputs.take(indices)
        inputs = np.zeros((len(chosen), num_steps, self.scaler.num_features), np.float32)
        for row, sequence in zip(inputs, chosen, strict=True):
            row[: len(sequence)] = self.scaler(sequence)
        lengths = None if self.is_equal else chosen.lengths.astype(np.int32)
        targets, weights = self._targets(indices, num_steps)
        return Batch(inputs, targets, weights.astype(np.float32), lengths)

    def _targets(self, indices: np.ndarray, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Targets of these samples, and their weights [B], or of every step [B, num_steps]."""
        if not isinstance(self.targets, Ragged):
            return self._as_read(self.targets[indices]), np.ones(len(indices))
        chosen = self.targets.take(indices)
        targets = chosen.padded(num_steps)
        weights = (np.arange(num_steps) < chosen.lengths[:, None]) & _has_target(targets)
        return self._as_read(np.where(_like(weights, targets), targets, 0)), weights

    def _as_read(self, targets: np.ndarray) -> np.ndarray:
        """What a loss is given: scaled float32, or int32."""
        return self.target_scaler(targets) if self.target_scaler else targets.astype(np.int32)


def _has_target(targets: np.ndarray) -> np.ndarray:
    """Which steps [B, T] have a class, or all their numbers."""
    if targets.ndim == 2:
        return targets != NO_CLASS
    return np.isfinite(targets).all(axis=-1)


def _like(weights: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return weights.reshape(*weights.shape, *[1] * (targets.ndim - weights.ndim))


def sequence_task(
    name: str,
    parts: Mapping[str, Labelled],
    request: Request,
    *,
    out_features: int,
    recipe_of: Callable[[int], tuple[Recipe, int]],
    metric: Literal["accuracy", "mse"],
    facts: Mapping[str, Any],
    features: Sequence[str] = (),
    forecasts: bool = False,
    layout: Mapping[str, Any] | None = None,
) -> Task:
    """The task of three sets of labelled sequences, scaled by the statistics of training.

    There may be no test samples.

    A train_fraction is taken first, as `in_memory_task` does. `recipe_of` so many training samples
    is the recipe, and how many samples count as one epoch. Errors call `features` by name.

    Raises:
        DataError: a feature that rounding leaves nothing of, or that is too large once scaled.
    """
    fraction, parts = request.train_fraction, dict(parts)
    if fraction is not None:
        parts["train"] = _part(parts["train"], fraction, request.seed)
    train = parts["train"]
    found = spread(train.inputs.blocks())
    scaler = scaling.fitted(found, features)
    held = (part.inputs for name, part in parts.items() if name != "train")
    held_ends = (ends(inputs.blocks()) for inputs in held if len(inputs))
    for low_and_high in ((found.low, found.high), *held_ends):
        scaling.check_scaled(scaler, low_and_high, features)
    longest = max(int(part.inputs.lengths.max(initial=0)) for part in parts.values())
    chosen = buckets.choose(train.inputs.lengths)
    chosen += (longest,) if longest > chosen[-1] else ()
    is_equal = all((part.inputs.lengths == longest).all() for part in parts.values())
    target_scaler = _target_scaler(train.targets) if metric == "mse" else None
    recipe, epoch_size = recipe_of(len(train.inputs))
    sources = {
        split: SequenceSource(
            part.inputs, part.targets, scaler, target_scaler, chosen, is_equal, part.ids
        )
        for split, part in parts.items()
    }
    return Task(
        name=name,
        train=sources["train"],
        validation=sources["validation"],
        test=sources["test"],
        length=longest,
        in_features=scaler.num_features,
        out_features=out_features,
        metric=metric,
        per_step=isinstance(train.targets, Ragged),
        forecasts=forecasts,
        layout=layout,
        target_std=None if target_scaler is None else tuple(target_scaler.std.tolist()),
        is_equal=is_equal,
        recipe=recipe,
        epoch_size=epoch_size,
        facts={
            "split_seed": request.seed,
            **facts,
            **scaling.facts(scaler),
            **({} if target_scaler is None else scaling.facts(target_scaler, "target_")),
            "counts": {split: len(source) for split, source in sources.items()},
            **({} if is_equal else {"padded_to": list(chosen)}),
            **({} if fraction is None else {"train_fraction": fraction}),
        },
    )


def _part(part: Labelled, fraction: float, seed: int) -> Labelled:
    count = len(part.inputs)
    targets = np.zeros(count) if isinstance(part.targets, Ragged) else part.targets
    return part.take(splits.part_of(targets, fraction, seed))


def _target_scaler(targets: Targets) -> Scaler:
    blocks = targets.blocks() if isinstance(targets, Ragged) else [targets]
    return scaling.fitted_to_targets(spread(blocks))
