"""Columns of a Parquet file, in the types that they have there."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ....faults import reading
from ...gaps import Gaps
from .typed import Typed, check_different, is_number, no_numbers, number_type

_ROWS = 2**16  # that are decoded together
_BYTES = 2**22  # of a column that are read together


class ParquetFile(Typed):
    """A file of typed columns; `gaps` of numbers may be in any of them."""

    def __init__(self, path: Path, gaps: Gaps):
        self.path = path
        self._unreadable = f"{path}: expected a Parquet file that can be read, got otherwise"
        self._has_marks = gaps.has_numbers
        with reading(self._unreadable), pq.ParquetFile(path) as file:
            self._schema, self._metadata = file.schema_arrow, file.metadata
        check_different(self.path, self.names)

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
        for number in range(self._metadata.num_row_groups):
            group = self._metadata.row_group(number)
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
            with pq.ParquetFile(self.path, read_dictionary=text, buffer_size=_BYTES) as file:
                for group in range(file.num_row_groups):  # Arrow keeps what it reads until the end
                    yield from file.iter_batches(_ROWS, row_groups=[group], columns=list(kinds))
