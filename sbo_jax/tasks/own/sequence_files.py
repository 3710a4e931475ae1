"""Data sets with one CSV file per sequence and an index of labels: file,label[,group][,split]."""

import csv
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .._types import DataError
from ..faults import reading
from ..sources.ragged import Ragged
from .description import Sequences
from .gaps import READ_THEM, Gaps, way_out
from .notation import Line, Notation, integers_or_text
from .table import LARGEST, Table, checked_inputs

_NEEDED, _OPTIONAL = ("file", "label"), ("group", "split")
_SPLITS = ("train", "validation", "test")

# an unlabelled file of these is a sequence that was forgotten, unless its name says what it is
_TABLES = frozenset({".csv", ".tsv", ".txt", ".dat"})
_NO_TABLES = frozenset({"readme", "license", "licence"})

_Row = tuple[int, dict[str, str]]


def read(folder: Path, sequences: Sequences, metric: str, gaps: Gaps) -> Table:
    """The table of the files that the index names; DataError names the file and the line."""
    index, root = folder / sequences.index, folder / sequences.folder
    rows = _index(index, sequences.notation, gaps)
    _check_same_files(index, root, rows)
    arrays = [_sequence(root / row["file"], sequences, gaps) for _, row in rows]
    first = rows[0][1]["file"]
    for (line, row), array in zip(rows, arrays, strict=True):
        if array.shape[1] != arrays[0].shape[1]:
            raise DataError(
                f"{root / row['file']}: expected {arrays[0].shape[1]} numbers a line as in "
                f"{first}, got {array.shape[1]} ({index.name}, line {line})"
            )
    places = [f"{index}, line {line}" for line, _ in rows]
    columns = {name: [row.get(name, "") for _, row in rows] for name in _OPTIONAL}
    has = rows[0][1].keys()
    return Table(
        checked_inputs(Ragged.of(arrays), str(root), gaps),
        _numbers(index, rows, sequences.notation)
        if metric == "mse"
        else integers_or_text([row["label"] for _, row in rows], places),
        np.array(columns["group"]) if "group" in has else None,
        np.array(columns["split"]) if "split" in has else None,
        places,
        [row["file"] for _, row in rows],
        _features(root / first, sequences, arrays[0].shape[1]),
    )


def _features(path: Path, sequences: Sequences, count: int) -> list[str]:
    """The names in the last header line of a file, if it has one for every feature."""
    header = _lines(path, sequences.notation)[: sequences.header_lines][-1:]
    return [name.strip() for _, cells in header for name in cells if len(cells) == count]


def _index(path: Path, notation: Notation, gaps: Gaps) -> list[_Row]:
    """The line number and the fields of every row."""
    lines = _lines(path, notation)
    header = [name.strip() for name in lines[0][1]]
    known = {*_NEEDED, *_OPTIONAL}
    if len(set(header)) < len(header) or not set(_NEEDED) <= set(header) <= known:
        raise DataError(
            f"{path}, line 1: expected the columns file,label and optionally group and split, "
            f"got {','.join(header)}"
        )
    rows = [(line, _fields(path, line, header, cells, gaps)) for line, cells in lines[1:]]
    if not rows:
        raise DataError(f"{path}: expected a line for every sequence, got none")
    return rows


def _fields(
    path: Path, line: int, header: Sequence[str], cells: Sequence[str], gaps: Gaps
) -> dict[str, str]:
    if len(cells) != len(header):
        raise DataError(f"{path}, line {line}: expected {','.join(header)}, got {','.join(cells)}")
    row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    for name, cell in row.items():
        if gaps.is_gap(cell):
            hint = way_out(name) if cell else ""
            raise DataError(f"{path}, line {line}: expected a {name}, got {cell or 'none'}{hint}")
    if row.get("split", "train") not in _SPLITS:
        raise DataError(
            f"{path}, line {line}: expected a split among {', '.join(_SPLITS)}, got {row['split']}"
        )
    return row


def _check_same_files(index: Path, root: Path, rows: Sequence[_Row]) -> None:
    """DataError unless every sequence has one label and every label one sequence."""
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
    known = lines.keys() | {os.path.normpath(index)}
    suffixes = _TABLES | {os.path.splitext(path)[1].lower() for path in lines}
    extra = [
        str(path)
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in suffixes
        and path.stem.lower() not in _NO_TABLES
        and os.path.normpath(path) not in known
        and path.is_file()
    ]
    if extra:
        raise DataError(
            f"{index}: expected a label for every CSV file in {root}, got none for {extra[0]}"
            + (f" and {len(extra) - 1} others" if len(extra) > 1 else "")
            + "; label it, or move it elsewhere"
        )


def _sequence(path: Path, sequences: Sequences, gaps: Gaps) -> np.ndarray:
    """The numbers of one file, [T, d] float64."""
    notation = sequences.notation
    lines = _lines(path, notation)[sequences.header_lines :]
    if not lines:
        raise DataError(f"{path}: expected a line for every step, got none")
    width = len(lines[0][1])
    if len(lines) > 1 and len(lines[1][1]) != width and _is_words(lines[0][1], notation):
        raise DataError(
            f"{path}, line {lines[0][0]}: expected numbers, got {lines[0][1][0]!r}; "
            f"header_lines = {lines[0][0]} skips it"
        )
    if not width:
        raise DataError(f"{path}, line {lines[0][0]}: expected numbers, got an empty line")
    for line, cells in lines:
        if len(cells) != width:
            raise DataError(
                f"{path}, line {line}: expected {width} numbers as in line {lines[0][0]}, got "
                f"{len(cells)}"
            )
    notation.check_no_half_numbers(f"{path}, line {lines[0][0]}", lines)
    try:
        array = np.array([[_number(cell, notation, gaps) for cell in cells] for _, cells in lines])
    except ValueError:
        array = None
    if array is None or (np.abs(array) > LARGEST)[~gaps.among(array)].any():
        raise _no_number(path, lines, notation, gaps)
    if gaps.are_refused and (missing := gaps.among(array)).any():
        step, feature = np.argwhere(missing)[0].tolist()
        line, cells = lines[step]
        raise DataError(
            f"{path}, line {line}: expected a number, got {cells[feature].strip()!r}, which is a "
            f"gap{READ_THEM}, or leave the sequence out"
        )
    return array


def _is_words(cells: Sequence[str], notation: Notation) -> bool:
    return bool(cells) and not any(map(notation.is_finite, cells))


def _number(cell: str, notation: Notation, gaps: Gaps) -> float:
    """NaN for an empty cell and for text that is stated to be a gap."""
    return math.nan if cell.strip() in ("", *gaps.stated) else notation.number(cell)


def _no_number(path: Path, lines: Sequence[Line], notation: Notation, gaps: Gaps) -> DataError:
    def is_wrong(cell: str) -> bool:
        try:
            number = np.array([_number(cell, notation, gaps)])
        except ValueError:
            return True
        return bool((np.abs(number) > LARGEST)[~gaps.among(number)].any())

    line, cell = next((line, cell) for line, cells in lines for cell in cells if is_wrong(cell))
    is_header = line == 1 and not re.search(r"\s", cell)
    return DataError(f"{path}, line {line}: {notation.no_number(cell, is_header=is_header)}")


def _numbers(index: Path, rows: Sequence[_Row], notation: Notation) -> np.ndarray:
    for line, row in rows:
        if not notation.is_finite(row["label"]):
            raise DataError(
                f"{index}, line {line}: expected a finite number as label, got {row['label']!r}"
            )
    return np.array([notation.number(row["label"]) for _, row in rows])


def _lines(path: Path, notation: Notation) -> list[tuple[int, list[str]]]:
    """The line number and the cells of every line; blank lines at the end do not count."""
    with reading(f"{path}: expected a CSV file that can be read, got otherwise"):
        lines = path.read_text(encoding=notation.codec).rstrip().splitlines()
        reader = csv.reader(lines, strict=True, **notation.dialect)
        rows = [(reader.line_num, cells) for cells in reader]
    if not rows:
        raise DataError(f"{path}: expected a CSV file, got an empty one")
    return rows
