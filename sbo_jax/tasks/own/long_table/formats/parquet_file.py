"""Columns of a Parquet file, in the types that they have there."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...._types import DataError
from ....faults import reading
from ...gaps import Gaps

_ROWS = 2**16  # that are decoded together
_BYTES = 2**22  # of a column that are read together


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type has numbers."""
    is_real = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return is_real or pa.types.is_decimal(kind) or kind == pa.bool_()


def no_numbers(place: Path, name: str, kind: pa.DataType, advice: str = "") -> DataError:
    """The fault of a column that has none."""
    return DataError(
        f"{place}: expected integers, floats, decimals or booleans in the column {name}, got the "
        f"type {kind}{advice}"
    )


def number_type(kind: pa.DataType, *, has_gaps: bool) -> np.dtype:
    """The type that holds numbers of this one, and NaN where there are gaps."""
    own = np.dtype(np.float64 if pa.types.is_decimal(kind) else kind.to_pandas_dtype())
    return np.result_type(own, np.float32) if has_gaps and own.kind != "f" else own


class ParquetFile:
    """A file of typed columns; `gaps` of numbers may be in any of them."""

    is_text = False

    def __init__(self, path: Path, gaps: Gaps):
        self.path = path
        self._unreadable = f"{path}: expected a Parquet file that can be read, got otherwise"
        self._has_marks = any(not isinstance(mark, str) for mark in gaps.stated)
        with reading(self._unreadable):
            self._file = pq.ParquetFile(path)
            self._schema = self._file.schema_arrow

    @property
    def names(self) -> Sequence[str]:
        return self._schema.names

    def number_type(self, name: str) -> np.dtype:
        """The type that holds the numbers of a column and its gaps; DataError if it has none."""
        kind = self._schema.field(name).type
        if not is_number(kind):
            raise no_numbers(self.path, name, kind, "; name the features")
        return number_type(kind, has_gaps=self._has_marks or self._has_nulls[name])

    @cached_property
    def _has_nulls(self) -> dict[str, bool]:
        """Whether columns may have nulls, by the statistics of the file."""
        found = dict.fromkeys(self.names, False)
        for number in range(self._file.metadata.num_row_groups):
            group = self._file.metadata.row_group(number)
            for column in map(group.column, range(group.num_columns)):
                statistics = column.statistics
                if statistics is None or not statistics.has_null_count or statistics.null_count:
                    found[column.path_in_schema] = True
        return found

    def batches(self, kinds: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
        """The rows, some at a time, of these columns: a "number", a "name" or a "time" each."""
        with reading(self._unreadable):
            encoded = [name for name, kind in kinds.items() if kind == "name"]
            text = [name for name in encoded if pa.types.is_string(self._schema.field(name).type)]
            file = pq.ParquetFile(self.path, read_dictionary=text, buffer_size=_BYTES)
            for group in range(file.num_row_groups):  # Arrow keeps what it has read until the end
                yield from file.iter_batches(_ROWS, row_groups=[group], columns=list(kinds))

    def place(self, row: int) -> str:
        """The file and the row."""
        return f"{self.path}, row {row} (counted from 0)"

    def no_number(self, row: int, name: str) -> DataError:
        """The fault of a number that is infinite, or too large for float32."""
        return DataError(
            f"{self.place(row)}: expected a finite number in the range of float32 for {name}"
        )

    def no_column(self) -> str:
        """The end of the sentence about a column that is not there."""
        return ""
