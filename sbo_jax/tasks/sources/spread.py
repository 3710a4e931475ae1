"""What one pass over the values of features finds, in float64: their range, mean and deviation.

Memory is what limits such a pass, so it is one, in pieces that a processor's cache holds. Each has
its own mean, around which squares lose no digits to a large offset; at the end they are put
together (Chan, Golub and LeVeque 1983).
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

# The numbers of a piece, and of a row of it: NumPy is ten times slower where it has to stop after
# each sample.
_NUMBERS, _WIDE = 2**16, 512


class Spread(NamedTuple):
    """Of features [d], without their gaps.

    Attributes:
        dtype: of the values.
        gaps: how many there are.
        low: the smallest value, NaN where there are gaps alone.
        high: the largest.
        mean: of all values.
        std: their standard deviation; 1 of a constant, so that it becomes zero and not NaN.
    """

    dtype: np.dtype
    gaps: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    std: np.ndarray


class _Columns(NamedTuple):
    """Of the columns of a piece, whose mean is `centre + rest`.

    The centre is rounded where numbers are large, what is left of the mean is not. The squares are
    those of the distances from the centre, which hardly differ, and add up.
    """

    counts: np.ndarray
    gaps: np.ndarray
    low: np.ndarray
    high: np.ndarray
    centre: np.ndarray
    rest: np.ndarray
    squares: np.ndarray


def spread(blocks: Iterable[np.ndarray]) -> Spread:
    """Of values in blocks [..., d], of which each is asked for once; NaN is a gap."""
    found: list[_Columns] = []
    dtype, features = np.dtype(np.float64), 0
    for block in blocks:
        dtype, features = block.dtype, block.shape[-1]
        found += map(_of_columns, _pieces(block.reshape(-1, features)))
    # a row of a piece has several samples
    parts = (
        np.concatenate([each.reshape(-1, features) for each in kind])
        for kind in zip(*found, strict=True)
    )
    return _together(dtype, _Columns(*parts))


def ends(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest value of every feature, as in `Spread`, in less than half."""
    found = [
        tuple(each.reshape(-1, block.shape[-1]) for each in _ends(piece))
        for block in blocks
        for piece in _pieces(block.reshape(-1, block.shape[-1]))
    ]
    low, high = map(np.concatenate, zip(*found, strict=True))
    return np.fmin.reduce(low).astype(np.float64), np.fmax.reduce(high).astype(np.float64)


def _ends(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of columns; NumPy looks for gaps faster than past them."""
    low, high = values.min(axis=0), values.max(axis=0)
    if np.isnan(low).any():
        return np.fmin.reduce(values), np.fmax.reduce(values)
    return low, high


def _pieces(samples: np.ndarray) -> Iterator[np.ndarray]:
    """The samples [n, d] in rows of several, and those that fill no row."""
    count, features = samples.shape
    width = max(1, _WIDE // features)
    rows = samples[: count // width * width].reshape(-1, width * features)
    step = max(1, _NUMBERS // rows.shape[1])
    yield from (rows[first : first + step] for first in range(0, len(rows), step))
    if count % width:
        yield samples[-(count % width) :]


def _of_columns(values: np.ndarray) -> _Columns:
    values = values.astype(np.float64, copy=False)
    total, gaps = values.sum(axis=0), np.zeros(values.shape[1], np.int64)
    if has_gaps := bool(np.isnan(total).any()):
        missing = np.isnan(values)
        total, gaps = np.where(missing, 0, values).sum(axis=0), missing.sum(axis=0)
    count = len(values) - gaps
    centre = total / np.maximum(count, 1)
    away = values - centre
    if has_gaps:
        away[missing] = 0
    rest = away.sum(axis=0) / np.maximum(count, 1)
    squares = np.square(away, out=away).sum(axis=0)
    return _Columns(count, gaps, *_ends(values), centre, rest, squares)


def _together(dtype: np.dtype, parts: _Columns) -> Spread:
    low, high = np.fmin.reduce(parts.low), np.fmax.reduce(parts.high)
    count = parts.counts.sum(axis=0)
    weights = parts.counts / np.maximum(count, 1)
    above = (parts.centre - low) + parts.rest
    mean = (weights * above).sum(axis=0)
    variance = (parts.squares / np.maximum(count, 1)).sum(axis=0)
    variance += (weights * (above - mean) ** 2).sum(axis=0)
    constant = low == high
    return Spread(
        dtype,
        parts.gaps.sum(axis=0),
        low,
        high,
        np.where(constant, low, low + mean),
        np.where(constant, 1, np.sqrt(variance)),
    )
