"""Columns of times: numbers, or dates, which become nanoseconds since 1970."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..notation import Notation

_KINDS = (
    pa.int64(),
    pa.float64(),
    pa.timestamp("ns"),
    pa.timestamp("ns", "UTC"),
)
_SECOND = 10**9


class Times:
    """The times of one column, batch by batch.

    Attributes:
        expected: what they are, for a sentence.
        unit: what a step of `max_gap` 1 is: 1, or a second.
    """

    def __init__(self, notation: Notation):
        self._notation = notation
        self._kinds = _KINDS
        self.expected = "a number, or a date such as 2024-05-01T12:00:00.25"
        self.unit = 1

    def read(self, column: pa.Array) -> np.ndarray:
        """[n] int64 or float64.

        Raises:
            pa.ArrowException: a gap, or a cell that is no time of the kind of those before.
        """
        if column.null_count:
            raise pa.ArrowInvalid("a gap")
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            return self._typed(column)
        column = pc.utf8_trim_whitespace(column)
        for kind in self._kinds:
            try:
                return self._typed(self._text(column, kind))
            except pa.ArrowException:
                continue
        raise pa.ArrowInvalid("no time")

    def is_of_another_kind(self, cell: pa.Array) -> bool:
        """Whether a cell that cannot be read is a time, but not of the kind of those before."""
        try:
            Times(self._notation).read(cell)
        except pa.ArrowException:
            return False
        return True

    def _text(self, column: pa.Array, kind: pa.DataType) -> pa.Array:
        if pa.types.is_floating(kind) and self._notation.decimal == ",":
            column = pc.replace_substring(column, ",", ".")
        return pc.cast(column, kind)

    def _typed(self, column: pa.Array) -> np.ndarray:
        """Times of one type; those that follow must be of the same kind."""
        kind = column.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            zone = getattr(kind, "tz", None)
            self._state((pa.timestamp("ns", zone and "UTC"),), "a date")
            self.unit = _SECOND
            column = pc.cast(pc.cast(column, pa.timestamp("ns", zone)), pa.int64())
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            self._state((pa.int64(), pa.float64()), "a number")
            if pa.types.is_integer(kind):
                column = pc.cast(column, pa.int64())
            elif pa.types.is_decimal(kind):
                column = pc.cast(pc.cast(column, pa.string()), pa.float64())
        else:
            raise pa.ArrowInvalid(f"the type {kind}")
        times = column.to_numpy(zero_copy_only=False)
        if not np.isfinite(times).all():
            raise pa.ArrowInvalid("no finite number")
        return times

    def _state(self, kinds: tuple[pa.DataType, ...], expected: str) -> None:
        if kinds[0] not in self._kinds:
            raise pa.ArrowInvalid(f"{expected} among others")
        self._kinds, self.expected = kinds, f"{expected} as in the rows before"
