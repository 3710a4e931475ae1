"""Labels of every step in an array: [N, T], or [S] where sequences follow each other.

A gap among them is no fault: most recordings are labelled here and there. Such a step is read, and
counts neither in the loss nor in the metric.
"""

import numpy as np

from ..._types import DataError
from ...sources.ragged import Ragged
from ..gaps import Gaps, way_out_of_step
from ..table import LARGEST, NO_LABEL


def of(
    labels: np.ndarray, shape: tuple[int, ...], inputs: Ragged, where: str, metric: str, gaps: Gaps
) -> Ragged:
    """The labels of the steps of these sequences, stored as they are; `shape` is [N, T] or [S]."""
    kinds, expected = ("iuf", "numbers") if metric == "mse" else ("biuU", "integers or text")
    ranks = (len(shape), len(shape) + 1) if metric == "mse" else (len(shape),)
    if (
        labels.dtype.kind not in kinds
        or labels.ndim not in ranks
        or labels.shape[: len(shape)] != shape
        or 0 in labels.shape
    ):
        raise DataError(
            f"{where}: expected a label for every step, {expected} of shape {shape}, got shape "
            f"{labels.shape} of {labels.dtype}"
        )
    flat = labels.reshape(len(inputs.values), *labels.shape[len(shape) :])
    marked = _marked_numbers if metric == "mse" else _marked_names
    return Ragged(marked(flat, where, gaps), inputs.starts, inputs.lengths)


def _marked_numbers(labels: np.ndarray, where: str, gaps: Gaps) -> np.ndarray:
    """NaN for a gap."""
    missing = gaps.among(labels)
    outside = (np.abs(labels) > LARGEST) & ~missing
    if outside.any():
        step, *column = np.argwhere(outside)[0].tolist()
        raise DataError(
            f"{where}: expected labels in the range of float32, got {labels[step, *column]} in "
            f"step {step} of all (from 0)"
        )
    return np.where(missing, np.nan, labels) if missing.any() else labels


def _marked_names(labels: np.ndarray, where: str, gaps: Gaps) -> np.ndarray:
    """Empty for a gap, or the least integer."""
    names = np.unique(labels)
    is_none = np.array([gaps.is_unlabelled(str(name)) for name in names])
    for name in names[~is_none]:
        if gaps.is_gap(str(name)):
            step = np.argmax(labels == name)
            raise DataError(
                f"{where}: expected a label, got {name} in step {step} of all (from 0)"
                f"{way_out_of_step(str(name))}"
            )
    marks = names[is_none]
    if not marks.size:
        return labels
    missing = np.isin(labels, marks)
    if labels.dtype.kind == "U":
        return np.where(missing, "", labels)
    return np.where(missing, NO_LABEL, labels.astype(np.int64))
