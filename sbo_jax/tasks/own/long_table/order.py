"""The order of the rows of a long table: sequence by sequence, and by time within each.

There may be a row for every few bytes of the values, so arrays of all rows are few: what can be
looked at a block of rows at a time is.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_BLOCK = 2**20


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
    first, lengths = _first_and_lengths(numbers, count)
    names = np.argsort(first)
    lengths = lengths[names]
    starts = np.cumsum(lengths) - lengths
    are_together = np.count_nonzero(numbers[1:] != numbers[:-1]) == count - 1
    rows = None if are_together else _together(numbers, names, starts)
    if times is not None:
        rows = _sorted_by_time(rows, times, starts)
    return Order(rows, lengths, names)


def first_step(
    order: Order, times: np.ndarray, is_fault: Callable[[np.ndarray], np.ndarray]
) -> int | None:
    """The place that the first such step in time within a sequence leads to."""
    starts = np.cumsum(order.lengths)
    for first in range(1, len(times), _BLOCK):
        steps = np.diff(_between(times, order.rows, first - 1, first + _BLOCK))
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


def _between(times: np.ndarray, rows: np.ndarray | None, start: int, end: int) -> np.ndarray:
    """The times at these places."""
    return times[start:end] if rows is None else times[rows[start:end]]


def _first_and_lengths(numbers: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first row of every sequence and how many it has, looked at from the last block on."""
    first, lengths = np.empty(count, np.int64), np.zeros(count, np.int64)
    for start in reversed(range(0, len(numbers), _BLOCK)):
        block = numbers[start : start + _BLOCK]
        first[block[::-1]] = np.arange(start, start + len(block))[::-1]
        lengths += np.bincount(block, minlength=count)
    return first, lengths


def _together(numbers: np.ndarray, names: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The rows of every sequence one after another, in the order of the file."""
    free = np.empty_like(starts)  # where the next row of a sequence goes
    free[names] = starts
    rows = np.empty(len(numbers), np.int64)
    for start in range(0, len(numbers), _BLOCK):
        block = numbers[start : start + _BLOCK]
        own = np.argsort(block, kind="stable")
        found, runs, counts = np.unique(block[own], return_index=True, return_counts=True)
        places = np.arange(len(block)) + np.repeat(free[found] - runs, counts)
        rows[places] = start + own
        free[found] += counts
    return rows


def _sorted_by_time(
    rows: np.ndarray | None, times: np.ndarray, starts: np.ndarray
) -> np.ndarray | None:
    """The rows of each sequence, which are together, by their times."""
    falls = np.zeros(len(times), bool)
    for first in range(1, len(times), _BLOCK):
        found = _between(times, rows, first - 1, first + _BLOCK)
        falls[first : first + _BLOCK] = found[1:] <= found[:-1]
    falls[starts] = False
    unsorted = np.logical_or.reduceat(falls, starts)
    if not unsorted.any():
        return rows
    rows = np.arange(len(times)) if rows is None else rows
    ends = np.append(starts[1:], len(rows))
    for start, end in zip(starts[unsorted], ends[unsorted], strict=True):
        own = rows[start:end]
        rows[start:end] = own[np.argsort(times[own], kind="stable")]
    return rows
