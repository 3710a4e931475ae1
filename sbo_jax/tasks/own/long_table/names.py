"""Columns of names: sequences, labels, groups and splits, as numbers of their different values."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NONE = -1
"""The number of a gap."""


class Names:
    """Numbers the different values of a column, in the order in which it was asked for them.

    Args:
        is_gap: whether a value is none, as text.
        as_text: whether integers and floats become text.

    Attributes:
        values: text without spaces around it, or integers or floats where the file has them and
            `as_text` does not ask for text.
    """

    def __init__(self, is_gap: Callable[[str], bool], *, as_text: bool = False):
        self.values: list[str | int | float] = []
        self._numbers: dict[Any, int] = {}  # as they are, and as they are written in the files
        self._is_gap, self._as_text = is_gap, as_text
        self._dictionary: pa.Array | None = None  # of the batch before, and the numbers of it
        self._found = np.zeros(0, np.int32)

    def numbers(self, column: pa.Array) -> np.ndarray:
        """[n] int32, `NONE` for a gap."""
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        if self._dictionary is None or not encoded.dictionary.equals(self._dictionary):
            found = [self._number(value) for value in encoded.dictionary.to_pylist()]
            self._dictionary, self._found = encoded.dictionary, np.array([*found, NONE], np.int32)
        indices = pc.cast(encoded.indices, pa.int32()).fill_null(len(self._found) - 1)
        return self._found[indices.to_numpy(zero_copy_only=False)]

    def _number(self, written: Any) -> int:
        number = self._numbers.get(written)
        if number is None:
            number = self._numbers[written] = self._new(_plain(written))
        return number

    def _new(self, value: Any) -> int:
        if value is None or self._is_gap(str(value)):
            return NONE
        value = str(value) if self._as_text else value
        if value not in self._numbers:
            self._numbers[value] = len(self.values)
            self.values.append(value)
        return self._numbers[value]


class OfSequences:
    """A column with one value for all rows of a sequence."""

    def __init__(self, names: Names):
        self.names = names
        self.numbers = np.zeros(0, np.int32)  # of the value of each sequence

    def add(self, sequences: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """The rows [m] of the next n rows that have another value than their sequence so far."""
        missing = max(0, int(sequences.max()) + 1 - len(self.numbers))
        self.numbers = np.concatenate([self.numbers, np.full(missing, NONE, np.int32)])
        new = np.flatnonzero(self.numbers[sequences] == NONE)[::-1]  # the first is written last
        self.numbers[sequences[new]] = numbers[new]
        return np.flatnonzero(self.numbers[sequences] != numbers)


def is_named(kind: pa.DataType, *, floats: bool) -> bool:
    """Whether a column of this type has names, or numbers that may stand for them."""
    if pa.types.is_dictionary(kind):
        return is_named(kind.value_type, floats=False)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind)
    number = pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return text or pa.types.is_integer(kind) or (floats and number)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value and value.strip()
    return int(value) if isinstance(value, bool | int) else float(value)
