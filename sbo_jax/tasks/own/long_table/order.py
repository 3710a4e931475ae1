"""The order of the rows of a long table: sequence by sequence, and by time within each."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_BLOCK = 2**20  # rows that are looked at together


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
    starts = np.concatenate([[0], np.flatnonzero(numbers[1:] != numbers[:-1]) + 1])
    runs, lengths = numbers[starts], np.diff(starts, append=len(numbers))
    first = np.empty(count, np.int64)
    first[runs[::-1]] = starts[::-1]
    names = np.argsort(first)
    whole = np.bincount(runs, lengths, count).astype(np.int64)[names]
    if len(runs) == count and (times is None or _are_rising(times, starts)):
        return Order(None, whole, names)
    rank = np.empty(count, np.int32)
    rank[names] = np.arange(count)
    ranks = rank[numbers]
    rows = np.argsort(ranks, kind="stable") if times is None else np.lexsort((times, ranks))
    return Order(rows, whole, names)


def first_step(
    order: Order, times: np.ndarray, is_fault: Callable[[np.ndarray], np.ndarray]
) -> int | None:
    """The place that the first such step in time within a sequence leads to."""
    in_order = times if order.rows is None else times[order.rows]
    starts = np.cumsum(order.lengths)
    for first in range(1, len(times), _BLOCK):
        steps = np.diff(in_order[first - 1 : first + _BLOCK])
        found = np.flatnonzero(is_fault(steps)) + first
        found = found[~np.isin(found, starts)] if found.size else found
        if found.size:
            return int(found[0])
    return None


def rounding(times: np.ndarray) -> float:
    """What a difference of two of these may be off by: 0.3 - 0.2 > 0.1."""
    if times.dtype.kind != "f":
        return 0.0
    return 4 * float(np.spacing(max(abs(times.min()), abs(times.max()))))


def _are_rising(times: np.ndarray, starts: np.ndarray) -> bool:
    falling = np.flatnonzero(times[1:] <= times[:-1]) + 1
    return bool(np.isin(falling, starts).all())
