"""A task with less to learn from: the same validation and test, part of the training samples."""

from dataclasses import replace

import numpy as np

from . import splits
from ._types import Task
from .arrays import ArraySource, normalised
from .catalogue.adding import AddingSource
from .streams import TokenSource, full_windows


def part(task: Task, fraction: float, seed: int) -> Task:
    """`fraction` of the training samples, 0 < fraction <= 1, of every class its share.

    The seed decides which. An epoch stays one pass over what there is, and so has fewer steps.
    """
    if isinstance(task.train, AddingSource):
        # Samples are generated, fresh ones every epoch: the part of an epoch becomes a fixed pool.
        size = max(1, round(fraction * task.epoch_size))
        pool = replace(task.train, size=size)
        facts = {"counts": {**task.facts["counts"], "train": size}}
        task = replace(task, train=pool, epoch_size=size, facts={**task.facts, **facts})
    elif isinstance(task.train, TokenSource):
        # The beginning of the text, since windows go on where others end.
        count = max(2, round(fraction * len(task.train.tokens)))
        text = full_windows(task.train.tokens[:count], task.length)
        words = {"words": {**task.facts["words"], "train": len(text.tokens)}}
        task = replace(task, train=text, epoch_size=len(text), facts={**task.facts, **words})
    else:
        task = _renormalised(task, fraction, seed)
    return replace(task, facts={**task.facts, "train_fraction": fraction})


def _renormalised(task: Task, fraction: float, seed: int) -> Task:
    """By the moments of the part: those of all would tell of samples that one does not have."""
    train, validation, test = (_array(s) for s in (task.train, task.validation, task.test))
    chosen = _chosen(train.targets, fraction, seed)
    data = normalised(
        (train.inputs[chosen], train.targets[chosen]),
        (validation.inputs, validation.targets),
        (test.inputs, test.targets),
    )
    return replace(
        task,
        train=data.train,
        validation=data.validation,
        test=data.test,
        epoch_size=len(chosen),
        facts={**task.facts, **data.facts()},
    )


def _array(source: object) -> ArraySource:
    if not isinstance(source, ArraySource):
        raise TypeError(f"expected samples in memory, got {type(source).__name__}")
    return source


def _chosen(targets: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    is_label = np.issubdtype(targets.dtype, np.integer)
    return splits.part(targets if is_label else np.zeros(len(targets)), fraction, seed)
