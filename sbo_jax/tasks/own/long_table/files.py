"""The files of a long table: which they are, and which columns they have."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from ...._checks import did_you_mean
from ...._words import listed
from ..._types import DataError
from ..gaps import Gaps
from ..notation import Notation
from .formats.csv_file import CsvFile
from .formats.frame import Frame
from .formats.parquet_file import ParquetFile

_PARQUET = (".parquet", ".pq")
_CSV = (".csv", ".tsv", ".txt", ".dat")

COPIES = ".sbo_jax"
"""The folder beside a description for copies of tables."""

TableFile: TypeAlias = CsvFile | ParquetFile | Frame
"""A file of named columns, or a table in memory; all kinds have the same methods."""


def opened(
    folder: Path, patterns: Sequence[str], notation: Notation, gaps: Gaps
) -> list[TableFile]:
    """The files of these names, or of the names that a pattern matches in the order of names."""
    paths = [path for pattern in patterns for path in _paths(folder, pattern)]
    known: dict[Path, Path] = {}
    for path in paths:
        real = path.resolve()
        if real in known:
            raise DataError(f"{path}: expected every file once, got it before as {known[real]}")
        known[real] = path
    return [_opened(path, notation, gaps) for path in paths]


def check_columns(file: TableFile, columns: Sequence[str]) -> None:
    """DataError for a column that the file does not have."""
    for name in columns:
        if name not in file.names:
            hint = file.no_column() or did_you_mean(name, file.names)
            raise DataError(
                f"{file.path}: expected columns among {listed(file.names)}, got {name}{hint}"
            )


def check_has(file: TableFile, columns: Sequence[str]) -> None:
    """DataError with both lists for new data that lack one of these columns of training."""
    missing = [name for name in columns if name not in file.names]
    if missing:
        hint = file.no_column() or did_you_mean(missing[0], file.names)
        raise DataError(
            f"{file.path}: expected the columns {listed(columns)} as in training, found "
            f"{listed(file.names)}, without {listed(missing)}{hint}"
        )


def _paths(folder: Path, pattern: str) -> list[Path]:
    path = folder / pattern
    if path.is_file():
        return [path]
    if path.is_dir():
        raise DataError(f"expected a table, got the folder {path}; name the files in it")
    if not any(mark in pattern for mark in "*?["):
        raise DataError(f"expected a table in {path}, found no such file")
    if path.is_absolute() and Path(pattern).is_absolute():
        folder, pattern = Path(path.anchor), str(path.relative_to(path.anchor))
    found = sorted(path for path in folder.glob(pattern) if path.is_file() and _is_own(path))
    if not found:
        raise DataError(f"expected tables in {folder / pattern}, found no file of such a name")
    return found


def _is_own(path: Path) -> bool:
    """Whether the user put a file there; copies of tables are in a folder of their own."""
    return COPIES not in path.parts


def _opened(path: Path, notation: Notation, gaps: Gaps) -> TableFile:
    name = path.name.lower().removesuffix(".gz")
    if path.name.lower().endswith(_PARQUET):
        return ParquetFile(path, gaps)
    if name.endswith(_CSV):
        return CsvFile(path, notation, gaps)
    raise DataError(
        f"{path}: expected a table in a file .csv, .csv.gz or .parquet, got {path.suffix or 'none'}"
    )
