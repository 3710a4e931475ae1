"""Columns of a DataFrame: of pandas, polars, pyarrow, or whatever else streams Arrow's arrays."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ....faults import reading
from ...gaps import Gaps
from .typed import Typed, check_different, is_number, no_numbers, number_type

_STREAM = "__arrow_c_stream__"


def is_frame(raw: Any) -> bool:
    """Whether an object is one."""
    return hasattr(raw, _STREAM)


class Frame(Typed):
    """A table in memory, in which `gaps` of numbers may be in any column; as `ParquetFile` is."""

    path = Path("DataFrame")  # what faults call it

    def __init__(self, raw: Any, gaps: Gaps):
        with reading("expected a DataFrame that Arrow reads, got otherwise"):
            self._table = pa.RecordBatchReader.from_stream(raw).read_all()
        check_different(self.path, self.names)
        self._has_marks = gaps.has_numbers

    @property
    def names(self) -> Sequence[str]:
        return self._table.column_names

    def number_type(self, name: str) -> np.dtype:
        """The type that holds the numbers of a column and its gaps; DataError if it has none."""
        column = self._table.column(name)
        if not is_number(column.type):
            raise no_numbers(self.path, name, column.type)
        return number_type(column.type, has_gaps=self._has_marks or column.null_count > 0)

    def batches(self, kinds: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
        """The rows, some at a time, of these columns."""
        yield from pa.table({name: _plain(self._table.column(name)) for name in kinds}).to_batches()


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text of polars, which is stored in views, as other tables store it."""
    kind = column.type
    if not pa.types.is_dictionary(kind):
        return column.cast(pa.large_string()) if pa.types.is_string_view(kind) else column
    if not pa.types.is_string_view(kind.value_type):
        return column
    chunks = [
        pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(pa.large_string()))
        for chunk in column.chunks
    ]
    return pa.chunked_array(chunks, pa.dictionary(kind.index_type, pa.large_string()))
