"""Training and validation samples together, for a model that is trained anew on both."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._types import DataError, Source, Task
from . import scaling
from .arrays import ArraySource
from .ragged import Ragged
from .sequences import SequenceSource, Targets
from .spread import spread

_Stored = ArraySource | SequenceSource


def scaled_together(task: Task) -> Task:
    """The task, all of its samples scaled by the statistics of training and validation inputs.

    A model that is selected and the one that is trained on both then read inputs of one scale.

    Raises:
        DataError: samples that are not held in memory.
    """
    own = {name: _stored(task, name) for name in ("train", "validation", "test")}
    scaler = scaling.fitted(spread([*_blocks(own["train"]), *_blocks(own["validation"])]))
    sources = {name: dataclasses.replace(source, scaler=scaler) for name, source in own.items()}
    return dataclasses.replace(
        task,
        train=sources["train"],
        validation=sources["validation"],
        test=sources["test"],
        in_features=scaler.num_features,
        facts={**task.facts, **scaling.facts(scaler)},
    )


def joined(task: Task) -> Source:
    """The training samples, and after them those of validation."""
    train, validation = _stored(task, "train"), _stored(task, "validation")
    parts: dict[str, Any] = {
        name: _together(getattr(train, name), getattr(validation, name))
        for name in ("inputs", "targets")
    }
    if isinstance(train, SequenceSource) and isinstance(validation, SequenceSource):
        parts["ids"] = _names_together(train.ids, validation.ids)
    return dataclasses.replace(train, **parts)


def _stored(task: Task, split: str) -> _Stored:
    source = getattr(task, split)
    if not isinstance(source, _Stored):
        raise DataError(
            f"expected samples that are held in memory to train anew on those of validation too, "
            f"got the task {task.name}; leave refit out"
        )
    return source


def _blocks(source: _Stored) -> Sequence[np.ndarray]:
    if isinstance(source, ArraySource):
        return scaling.pieces(source.inputs)
    return list(source.inputs.blocks())


def _together(one: Targets, other: Targets) -> Targets:
    if isinstance(one, Ragged):
        return Ragged.of([*one, *other])
    return np.concatenate([one, np.asarray(other)])


def _names_together(one: Sequence[str] | None, other: Sequence[str] | None) -> Sequence[str] | None:
    return None if one is None or other is None else [*one, *other]
