"""The order of the rows of a long table: sequence by sequence, and by time within each."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Order(NamedTuple):
    """Where the rows belong.

    Attributes:
        rows: [S], the row of the file at every place, None where all are in place.
        lengths: [N], the rows of each sequence.
        names: [N], the number of the name of each sequence, in order of first appearance.
    """

    rows: np.ndarray | None
    lengths: np.ndarray
    names: np.ndarray

    def row(self, place: int) -> int:
        """Which row of the file is at this place."""
        return place if self.rows is None else int(self.rows[place])


def of_rows(numbers: np.ndarray, count: int, times: np.ndarray | None) -> Order:
    """The order of rows [S] of sequences with these numbers below `count`, and these times."""
    first = np.full(count, len(numbers))
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]
    names = np.argsort(first)
    lengths = np.bincount(numbers, minlength=count)[names]
    rank = np.empty(count, np.int32)
    rank[names] = np.arange(count)
    ranks = rank[numbers]
    step = np.diff(ranks)
    if (step >= 0).all() and (times is None or ((step > 0) | (np.diff(times) > 0)).all()):
        return Order(None, lengths, names)
    rows = np.argsort(ranks, kind="stable") if times is None else np.lexsort((times, ranks))
    return Order(rows, lengths, names)


def first_step(
    order: Order, times: np.ndarray, is_fault: Callable[[np.ndarray], np.ndarray]
) -> int | None:
    """The place that the first such step in time within a sequence leads to."""
    found = is_fault(np.diff(times if order.rows is None else times[order.rows]))
    found[np.cumsum(order.lengths)[:-1] - 1] = False
    return int(np.argmax(found)) + 1 if found.any() else None


def rounding(times: np.ndarray) -> float:
    """What a difference of two of these may be off by: 0.3 - 0.2 > 0.1."""
    return 4 * float(np.spacing(np.abs(times).max())) if times.dtype.kind == "f" else 0.0
