"""The index of sequence files: file,label[,group][,split], or the column file alone in new data."""

import os
from collections.abc import Sequence
from pathlib import Path

from ..._types import DataError
from ..gaps import Gaps, way_out
from ..notation import Notation
from .lines import lines_of

_LABELLED, _OPTIONAL = {"file", "label"}, {"group", "split"}
_SPLITS = ("train", "validation", "test")

# an unlabelled file of these is a sequence that was forgotten, unless its name says what it is
_TABLES = frozenset({".csv", ".tsv", ".txt", ".dat"})
_NO_TABLES = frozenset({"readme", "license", "licence"})

Row = tuple[int, dict[str, str]]
"""The number of a line, and its cells by the names of their columns."""


def labelled(path: Path, root: Path, notation: Notation, gaps: Gaps) -> list[Row]:
    """The rows of an index that has one label for every sequence in `root`."""
    header = _header(path, notation)
    if not _LABELLED <= set(header) <= _LABELLED | _OPTIONAL:
        raise DataError(
            f"{path}, line 1: expected the columns file,label and optionally group and split, "
            f"got {','.join(header)}"
        )
    rows = _rows(path, notation, gaps, header)
    lines = _check_files(path, root, rows)
    known = lines.keys() | {os.path.normpath(path)}
    suffixes = _TABLES | {os.path.splitext(file)[1].lower() for file in lines}
    extra = [file for file in tables(root, suffixes) if os.path.normpath(file) not in known]
    if extra:
        raise DataError(
            f"{path}: expected a label for every CSV file in {root}, got none for {extra[0]}"
            + (f" and {len(extra) - 1} others" if len(extra) > 1 else "")
            + "; label it, or move it elsewhere"
        )
    return rows


def files(path: Path, root: Path, notation: Notation, gaps: Gaps) -> list[Row]:
    """The rows of an index of sequences in `root`; no column but `file` is read."""
    header = _header(path, notation)
    if "file" not in header:
        raise DataError(f"{path}, line 1: expected a column file, got {','.join(header)}")
    rows = _rows(path, notation, gaps, ["file"])
    _check_files(path, root, rows)
    return rows


def is_index(path: Path, notation: Notation) -> bool:
    """Whether a file begins as an index does, and not with the numbers of a sequence."""
    return "file" in _header(path, notation)


def tables(root: Path, suffixes: frozenset[str] = _TABLES) -> list[Path]:
    """The files in this folder, and in those in it, that may hold a sequence."""
    return [
        path
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in suffixes
        and path.stem.lower() not in _NO_TABLES
        and path.is_file()
    ]


def _header(path: Path, notation: Notation) -> list[str]:
    header = [name.strip() for name in lines_of(path, notation)[0][1]]
    if len(set(header)) < len(header):
        raise DataError(
            f"{path}, line 1: expected a different name for every column, got {','.join(header)}"
        )
    return header


def _rows(path: Path, notation: Notation, gaps: Gaps, wanted: Sequence[str]) -> list[Row]:
    """The line number and the wanted fields of every row."""
    (_, header), *lines = lines_of(path, notation)
    rows = []
    for line, cells in lines:
        if len(cells) != len(header):
            expected = ",".join(header)
            raise DataError(f"{path}, line {line}: expected {expected}, got {','.join(cells)}")
        stripped = zip(header, cells, strict=True)
        row = {name.strip(): cell.strip() for name, cell in stripped if name.strip() in wanted}
        _check(row, f"{path}, line {line}", gaps)
        rows.append((line, row))
    if not rows:
        raise DataError(f"{path}: expected a line for every sequence, got none")
    return rows


def _check(row: dict[str, str], where: str, gaps: Gaps) -> None:
    for name, cell in row.items():
        if gaps.is_gap(cell):
            hint = way_out(name) if cell else ""
            raise DataError(f"{where}: expected a {name}, got {cell or 'none'}{hint}")
    if row.get("split", "train") not in _SPLITS:
        raise DataError(f"{where}: expected a split among {', '.join(_SPLITS)}, got {row['split']}")


def _check_files(index: Path, root: Path, rows: Sequence[Row]) -> dict[str, int]:
    """The line of every file, which is there and is listed once; DataError otherwise."""
    lines: dict[str, int] = {}
    for line, row in rows:
        path = os.path.normpath(root / row["file"])
        if path in lines:
            raise DataError(
                f"{index}, line {line}: expected every file once, got {row['file']} a second time "
                f"(first in line {lines[path]})"
            )
        if not os.path.isfile(path):
            raise DataError(f"{index}, line {line}: expected a sequence in {path}, found no file")
        lines[path] = line
    return lines
