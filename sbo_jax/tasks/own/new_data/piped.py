"""A long table that comes through a pipe as CSV: some whole sequences at a time.

What is held: about 8 MB of text and what it is parsed to, or one sequence if that is longer; and
the names of the sequences that have ended, so that one that goes on later is noticed.
"""

import csv
import io
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

from ..._types import DataError
from ..gaps import Gaps
from ..long_table.formats.csv_part import CsvPart
from ..notation import Notation

_CHARACTERS = 2**23
_ADVICE = "train with its encoding, separator and quote in dataset.toml, or give the path of a file"


class _Row(NamedTuple):
    """The text of a row, what it says of its sequence, and the number of its last line."""

    text: str
    name: str | None
    line: int


class Pipe(AbstractContextManager["Pipe"]):
    """The rows of a stream, in this notation; a context, which leaves the stream open.

    Attributes:
        header: a table of the columns, without a row.
    """

    def __init__(self, stream: io.BufferedReader | io.BytesIO, notation: Notation, gaps: Gaps):
        self._notation, self._gaps = notation, gaps
        self._text = io.TextIOWrapper(stream, encoding=notation.codec, newline="")
        self._read: list[str] = []  # lines of the row that is being read
        self._cells = csv.reader(self._remembered(), strict=True, **notation.dialect)
        self._names, self._head, self._line = self._header()
        self.header = self._part([], 0)

    def __exit__(self, *_: object) -> None:
        self._text.detach()

    def parts(self, sequence: str) -> Iterator[CsvPart]:
        """All rows, in tables of whole sequences, which this column names.

        Raises:
            DataError: rows of a sequence that are not together.
        """
        ended: set[str | None] = set()
        rows: list[str] = []
        size, skipped, name, line = 0, 0, None, self._line
        for row in self._rows(self._names.index(sequence)):
            if row.name not in (name, None):
                if row.name in ended:
                    raise DataError(
                        f"standard input, line {row.line}: expected the rows of a sequence one "
                        f"below another, got {row.name} again; give the path of a file, which may "
                        "have them in any order"
                    )
                if name is not None and size > _CHARACTERS:
                    yield self._part(rows, skipped)
                    rows, size, skipped = [], 0, line - self._line
                ended.add(name)
                name = row.name
            rows.append(row.text)
            size, line = size + len(row.text), row.line
        yield self._part(rows, skipped)

    def _part(self, rows: list[str], skipped: int) -> CsvPart:
        return CsvPart(self._head, "".join(rows), skipped, self._notation, self._gaps)

    def _header(self) -> tuple[list[str], str, int]:
        """The names of the columns, their text, and the number of its last line."""
        for cells in self._parsed():
            if cells:
                return [name.strip() for name in cells], self._taken(), self._cells.line_num
        return [], "", 0

    def _rows(self, column: int) -> Iterator[_Row]:
        for cells in self._parsed():
            name = cells[column].strip() if len(cells) > column else None
            yield _Row(self._taken(), name, self._cells.line_num)

    def _parsed(self) -> Iterator[list[str]]:
        try:
            yield from self._cells
        except (csv.Error, UnicodeError) as fault:
            raise DataError(
                f"standard input, line {self._cells.line_num + 1}: expected CSV that can be read, "
                f"got otherwise ({fault}); {_ADVICE}"
            ) from fault

    def _remembered(self) -> Iterator[str]:
        for line in self._text:
            self._read.append(line)
            yield line

    def _taken(self) -> str:
        text = "".join(self._read)
        self._read.clear()
        return text
