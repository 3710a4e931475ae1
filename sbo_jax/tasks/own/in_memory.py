"""Sequences that are in memory already: an array, or one array for each."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._types import DataError
from ..sources.ragged import Ragged


def as_sequences(inputs: Any) -> Ragged:
    """The sequences of an array [N, T, d], or of N arrays [T_i, d]; of any real type.

    Raises:
      DataError: anything else, none at all, or a sequence without a step.
    """
    if isinstance(inputs, Ragged):
        return inputs
    if isinstance(inputs, list | tuple):
        return _of_many(inputs)
    array = np.asarray(inputs)
    if array.ndim != 3:
        raise DataError(
            f"expected sequences [samples, steps, features], got the shape {array.shape}"
            f"{_way_out(array)}"
        )
    if 0 in array.shape:
        raise DataError(f"expected samples, steps and features, got the shape {array.shape}")
    return Ragged.of_equal(_real(array))


def _of_many(sequences: Sequence[Any]) -> Ragged:
    if not sequences:
        raise DataError("expected one sequence or more, got none")
    arrays = [_real(np.asarray(each)) for each in sequences]
    width = arrays[0].shape[-1] if arrays[0].ndim else 0
    for number, array in enumerate(arrays):
        if array.ndim != 2 or 0 in array.shape:
            raise DataError(
                f"expected every sequence as [steps, features], got the shape {array.shape} for "
                f"sequence {number} (counted from 0){_way_out(array[None])}"
            )
        if array.shape[1] != width:
            raise DataError(
                f"expected {width} features in every sequence, as in the first, got "
                f"{array.shape[1]} in sequence {number} (counted from 0)"
            )
    return Ragged.of(arrays)


def _real(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise DataError(f"expected real numbers, got the type {array.dtype}")
    return array


def _way_out(array: np.ndarray) -> str:
    """What may be meant by an array of another number of axes."""
    if array.ndim != 2:
        return ""
    return "; one sequence is x[None], and one feature is x[..., None]"
