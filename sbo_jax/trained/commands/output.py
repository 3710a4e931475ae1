"""Rows of answers, in a CSV or Parquet file that is never half written, or on standard output."""

import csv
import io
import os
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...disk.claims import claim_file
from ...disk.paths import local_path, temporary_beside

_SUFFIXES = (".csv", ".parquet")
_ROWS = 2**16  # that are written together


class Output(AbstractContextManager["Output"]):
    """Takes tables of the same columns, one below another.

    A file has its name once all are in it; an error, or Ctrl-C, leaves none.

    Args:
        path: the file, or None for standard output.

    Raises:
        ValueError: a file of another kind, one that is there already, or none that can be written.
    """

    def __init__(self, path: Path | None):
        self.path = None if path is None else _new(local_path(path))
        self.rows = 0
        self._stack = ExitStack()
        self._parquet: pq.ParquetWriter | None = None

    def __enter__(self) -> "Output":
        if self.path is None:
            self._file: BinaryIO = sys.stdout.buffer
            return self
        with ExitStack() as stack:
            stack.callback(claim_file(self.path).release)
            self._temporary = temporary_beside(self.path)
            stack.callback(self._temporary.unlink, missing_ok=True)
            self._file = stack.enter_context(self._temporary.open("wb"))
            self._stack = stack.pop_all()
        return self

    def write(self, table: pa.Table) -> None:
        """These rows below those before."""
        if self.path is not None and self.path.suffix == ".parquet":
            self._write_parquet(table)
        else:
            header = [] if self.rows else [table.column_names]
            for block in table.to_batches(_ROWS):
                self._file.write(_text([*header, *zip(*map(_cells, block.columns), strict=True)]))
                header = []
        self.rows += len(table)

    def __exit__(self, kind: Any, *_: Any) -> None:
        with self._stack:
            if self._parquet is not None:
                self._parquet.close()
            self._file.flush()
            if self.path is not None and kind is None:
                os.replace(self._temporary, self.path)

    def _write_parquet(self, table: pa.Table) -> None:
        if self._parquet is None:
            self._parquet = pq.ParquetWriter(self._file, table.schema)
        schemas = [self._parquet.schema, table.schema]
        schema = pa.unify_schemas(schemas, promote_options="permissive")
        if schema != self._parquet.schema:
            self._parquet = self._begun_anew(self._parquet, schema)
        self._parquet.write_table(table.cast(schema))

    def _begun_anew(self, writer: pq.ParquetWriter, schema: pa.Schema) -> pq.ParquetWriter:
        """The rows so far in wider types, as of a time that was whole in all of them."""
        writer.close()
        self._file.flush()
        rows = pq.read_table(self._temporary)
        self._file.seek(0)
        self._file.truncate()
        writer = pq.ParquetWriter(self._file, schema)
        writer.write_table(rows.cast(schema))
        return writer


def _new(path: Path) -> Path:
    if path.suffix not in _SUFFIXES:
        raise ValueError(f"expected --out FILE.csv or FILE.parquet, got {path}")
    if path.exists():
        raise ValueError(
            f"expected a new file, got {path}, which is there; move it away, or choose another "
            "one with --out"
        )
    return path


def _cells(column: pa.Array) -> list[Any]:
    return (
        pc.cast(column, pa.string()) if pa.types.is_timestamp(column.type) else column
    ).to_pylist()


def _text(rows: Iterable[Iterable[Any]]) -> bytes:
    """By Python, since Arrow puts every text in quotes."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
