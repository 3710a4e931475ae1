"""Rows of a CSV file that came through a pipe, which cannot be opened again."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from ...gaps import Gaps
from ...notation import Line, Notation
from .csv_file import CsvFile


class CsvPart(CsvFile):
    """A header and some of the rows below it, as text; lines are counted from the header's.

    Args:
        header: the text of the header, with blank lines before it.
        rows: the text of these rows.
        skipped: lines between the header and them.
    """

    def __init__(self, header: str, rows: str, skipped: int, notation: Notation, gaps: Gaps):
        super().__init__(Path("standard input"), replace(notation, encoding="utf-8"), gaps)
        self._content = (header + rows).encode()
        self._header_lines, self._skipped = len(header.splitlines()), skipped

    def _lines(self) -> Iterator[Line]:
        for line, cells in super()._lines():
            yield line + self._skipped * (line > self._header_lines), cells

    def _bytes(self) -> io.BytesIO:
        return io.BytesIO(self._content)

    def _stream(self) -> pa.NativeFile:
        return pa.BufferReader(self._content)
