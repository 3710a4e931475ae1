"""One time step of raw features, made what a model reads: as `Reading`, without the sequence."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._words import counted, listed
from ..tasks._types import DataError
from ..tasks.own.in_memory import check_no_mask
from ..tasks.own.table import LARGEST
from .reading import Reading


class Step(NamedTuple):
    """What there is to read.

    Attributes:
        inputs: [batch, d + indicators] float32, scaled; finite where nothing is read as well.
        read: [batch] bool, which sequences have a step; None where all have.
        last: [batch, d] float64, the last value of every feature; NaN before the first.
    """

    inputs: np.ndarray
    read: np.ndarray | None
    last: np.ndarray


@dataclass(frozen=True, eq=False)
class StepReading:
    """How steps of `batch` sequences are read.

    Attributes:
        reading: of whole sequences.
        batch: sequences side by side.
    """

    reading: Reading
    batch: int

    @property
    def none_yet(self) -> np.ndarray:
        """The last values before the first step."""
        return np.full((self.batch, self.reading.num_features), np.nan)

    def step(self, x: Any, mask: Any, last: np.ndarray) -> Step:
        """Raw features [batch, d], or [d] of one sequence, scaled and their gaps treated.

        Raises:
          DataError: another shape or type, or a number that was refused in training; where `mask`
            is False, any number will do.
        """
        numbers, gaps = self._numbers(x), self.reading.gaps
        values = numbers.astype(np.float64)
        sizes = np.abs(values)
        if mask is None and sizes.max() <= LARGEST and not gaps.has_numbers:  # no NaN either
            return Step(self.reading.scaler(values), None, self._after(values, last))
        arrived = np.ones(self.batch, bool) if mask is None else self._mask(mask)
        missing, outside = gaps.among(numbers), sizes > LARGEST
        wrong = outside | missing if gaps.are_refused else outside & ~missing
        _check(wrong & arrived[:, None], values, self.reading)
        values[missing | ~arrived[:, None]] = np.nan
        return self._with_gaps(values, arrived, last)

    def _with_gaps(self, values: np.ndarray, arrived: np.ndarray, last: np.ndarray) -> Step:
        after = self._after(values, last)
        if self.reading.gaps.missing == "carry":
            values = after
        read = arrived & ~np.isnan(values).all(axis=1)
        return Step(self.reading.scaler(values), None if read.all() else read, after)

    def _after(self, values: np.ndarray, last: np.ndarray) -> np.ndarray:
        """The last values after these, where a gap takes them."""
        if self.reading.gaps.missing != "carry":
            return last
        return np.where(np.isnan(values), last, values)

    def _numbers(self, x: Any) -> np.ndarray:
        expected = self.reading.num_features
        check_no_mask(x)
        try:
            numbers = np.asarray(x)
        except ValueError as error:  # rows of unequal length
            raise DataError(
                f"expected a step of {counted(expected, 'feature')}, got {x!r:.60}"
            ) from error
        if numbers.dtype.kind not in "biuf":
            raise DataError(
                f"expected real numbers, got the type {numbers.dtype}; a step that is lost is None"
            )
        if numbers.ndim == 1 and self.batch == 1:
            numbers = numbers[None]
        if numbers.ndim == 2 and numbers.shape[1] != expected:
            names = f" ({listed(self.reading.features)})" if self.reading.features else ""
            raise DataError(
                f"expected {counted(expected, 'feature')}{names}, got {numbers.shape[1]}"
            )
        if numbers.shape != (self.batch, expected):
            raise DataError(
                f"expected one step of every sequence, [batch, features] = "
                f"{[self.batch, expected]}, got the shape {numbers.shape}"
            )
        return numbers

    def _mask(self, mask: Any) -> np.ndarray:
        arrived = np.atleast_1d(np.asarray(mask))
        if arrived.dtype != bool or arrived.shape != (self.batch,):
            raise DataError(
                f"expected a mask of bool, one for each of {self.batch} sequences, got "
                f"{arrived.dtype} of shape {arrived.shape}; try np.array(mask) > 0"
            )
        return arrived


def _check(wrong: np.ndarray, values: np.ndarray, reading: Reading) -> None:
    if not wrong.any():
        return
    row, feature = np.argwhere(wrong)[0].tolist()
    value, names = values[row, feature], reading.features
    name = f"{feature} ({names[feature]!r})" if names else f"{feature} (counted from 0)"
    way_out = (
        "; a step that is lost is None, or False in the mask, and a run that was trained with "
        'missing = "mask" or "carry" reads gaps'
    )
    raise DataError(
        f"expected finite numbers in the range of float32, got {value} in feature {name} of "
        f"sequence {row}{way_out if reading.gaps.are_refused else ''}"
    )
