"""Columns of a CSV file, which pyarrow parses; the line that it refuses is found here."""

import csv
import gzip
import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from ....._words import counted
from ...._types import DataError
from ....faults import reading
from ...gaps import Gaps
from ...notation import Line, Notation

_BYTES = 2**23  # that are parsed together
_LIKE_A_NUMBER = re.compile(r"[-+0-9.,e_\s]*|[-+]?inf(inity)?", re.IGNORECASE)
_NO_FEATURE = "; if it is no feature, name the features, or name it as group, split, label or time"
_TYPES = {
    "number": pa.float64(),
    "name": pa.dictionary(pa.int32(), pa.string()),
    "time": pa.string(),
}


class CsvFile:
    """A file with a header, in this notation.

    Attributes:
        is_text: whether it writes integers as it writes text.
    """

    is_text = True

    def __init__(self, path: Path, notation: Notation, gaps: Gaps):
        self.path, self.notation, self.gaps = path, notation, gaps
        # an empty cell is a gap by nature; other marks are stated
        self._marks = ["", *(mark for mark in gaps.stated if isinstance(mark, str))]

    @cached_property
    def _header(self) -> Sequence[str]:
        """The names as they are written."""
        for line, cells in self._lines():
            names = [name.strip() for name in cells]
            if len(set(names)) < len(names):
                raise DataError(
                    f"{self.path}, line {line}: expected a different name for every column, got "
                    f"{','.join(names)}"
                )
            return cells
        raise DataError(f"{self.path}: expected a CSV file, got an empty one")

    @property
    def names(self) -> list[str]:
        return [name.strip() for name in self._header]

    def number_type(self, name: str) -> np.dtype:
        """The type that holds the numbers of a column and its gaps; DataError if it has none."""
        return np.dtype(np.float64)

    def batches(self, kinds: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
        """The rows, some at a time, of these columns: a "number", a "name" or a "time" each."""
        written = dict(zip(self.names, self._header, strict=True))
        convert = arrow_csv.ConvertOptions(
            column_types={written[name]: _TYPES[kind] for name, kind in kinds.items()},
            include_columns=[written[name] for name in kinds],
            null_values=self._marks,
            decimal_point=self.notation.decimal or ".",
        )
        parse = arrow_csv.ParseOptions(
            delimiter=self.notation.separator, quote_char=self.notation.quote
        )
        options = arrow_csv.ReadOptions(block_size=_BYTES, encoding=self.notation.encoding)
        numbers = [name for name, kind in kinds.items() if kind == "number"]
        try:
            with arrow_csv.open_csv(self._stream(), options, parse, convert) as batches:
                yield from (batch.rename_columns(list(kinds)) for batch in batches)
        except (pa.ArrowException, UnicodeError, OSError) as fault:
            if len([*itertools.islice(self._lines(), 2)]) == 1:
                return  # a header without an end of line, which pyarrow calls an empty block
            self._check(numbers)
            with self._reading():
                raise fault from None

    def place(self, row: int) -> str:
        """The file and the line of a row, counted from 0; blank lines are no rows."""
        for number, (line, _) in enumerate(self._lines()):
            if number == row + 1:
                return f"{self.path}, line {line}"
        return f"{self.path}"

    def no_number(self, row: int, name: str) -> DataError:
        """The fault of a number that is infinite, or too large for float32."""
        try:
            self._check([name])
        except DataError as fault:
            return fault
        return DataError(f"{self.place(row)}: expected a finite number in the range of float32")

    def no_column(self) -> str:
        """The end of the sentence about a column that is not there."""
        return self.notation.other_separator(self._header)

    def _check(self, numbers: list[str]) -> None:
        """DataError for the first line that is no row of the header, or has no number in these."""
        columns = [self.names.index(name) for name in numbers]
        for line, cells in itertools.islice(self._lines(), 1, None):
            if len(cells) != len(self.names):
                raise DataError(
                    f"{self.path}, line {line}: expected {counted(len(self.names), 'cell')} as in "
                    f"the header, got {len(cells)}{self._hint(cells)}"
                )
            for column in columns:
                if not self._is_number_or_gap(cells[column]):
                    raise self._no_number(line, self.names[column], cells[column])

    def _is_number_or_gap(self, cell: str) -> bool:
        return (
            cell in self._marks
            or cell.strip().lower() in ("nan", "-nan")
            or self.notation.is_finite(cell)
        )

    def _no_number(self, line: int, name: str, cell: str) -> DataError:
        if self.gaps.is_gap(cell.strip()):
            sentence = f'expected gaps = "{cell}" in dataset.toml, or finite numbers, got {cell!r}'
        else:
            sentence = self.notation.no_number(cell, is_header=False)
        hint = "" if _LIKE_A_NUMBER.fullmatch(cell) else _NO_FEATURE
        return DataError(f"{self.path}, line {line}, column {name}: {sentence}{hint}")

    def _hint(self, cells: Sequence[str]) -> str:
        if self.notation.separator == "," and len(cells) > len(self.names):
            return (
                '; for numbers such as 0,061 write another separator, and add decimal = "," and '
                'separator = ";" to dataset.toml'
            )
        return "; check separator and quote in dataset.toml"

    def _lines(self) -> Iterator[Line]:
        """The lines that are not blank, with the number of the line where each ends."""
        line = 0
        with self._reading(), self._text() as text:
            reader = csv.reader(text, strict=True, **self.notation.dialect)
            try:
                for cells in reader:
                    line = reader.line_num
                    if cells:
                        yield line, cells
            except csv.Error as fault:
                with self._reading(f", line {line + 1}"):
                    raise fault

    def _reading(self, line: str = "") -> AbstractContextManager[None]:
        return reading(
            f"{self.path}{line}: expected a CSV file that can be read, got otherwise",
            "look at quotes and line breaks within them, and state encoding, separator and quote "
            "in dataset.toml",
        )

    @contextmanager
    def _text(self) -> Iterator[IO[str]]:
        with self._bytes() as stream:
            yield io.TextIOWrapper(stream, encoding=self.notation.codec, newline="")

    def _bytes(self) -> gzip.GzipFile | io.BufferedReader | io.BytesIO:
        return gzip.open(self.path) if self.path.suffix.lower() == ".gz" else self.path.open("rb")

    def _stream(self) -> pa.NativeFile:
        compression = "gzip" if self.path.suffix.lower() == ".gz" else None
        return pa.input_stream(self.path, compression=compression)
