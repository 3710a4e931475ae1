"""What names a prediction to the user: the id of its sequence and, where steps count, the step."""

from typing import Any

import numpy as np

from ...tasks._types import Task
from ...tasks.sources.sequences import SequenceSource
from ...training.predictions import Predicted


def columns(task: Task, predicted: Predicted) -> list[str]:
    """The heads of the columns of `places`."""
    if predicted.steps is None:
        return ["sequence"]
    skips = "missing" in task.facts or "max_length" in task.facts
    return ["sequence", "step, of those that are read" if skips else "step"]


def places(task: Task, predicted: Predicted, rows: np.ndarray) -> list[list[Any]]:
    """For each of these predictions its sequence, and its step; samples without ids are numbered.

    Steps are counted from 0 in the sequence as the model reads it, without what gaps and limits
    leave out.
    """
    ids = task.test.ids if isinstance(task.test, SequenceSource) else None
    samples = predicted.samples[rows].tolist()
    named = [[sample if ids is None else str(ids[sample])] for sample in samples]
    if predicted.steps is None:
        return named
    return [[*name, step] for name, step in zip(named, predicted.steps[rows].tolist(), strict=True)]


def one_of_each(predicted: Predicted, rows: np.ndarray) -> np.ndarray:
    """Of these predictions, in their order, the first of every sequence.

    Where one step is wrong, so are often its neighbours, which say nothing new.
    """
    _, first = np.unique(predicted.samples[rows], return_index=True)
    return rows[np.sort(first)]
