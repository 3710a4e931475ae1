"""Data sets with one CSV file per sequence and an index of labels: file,label[,group][,split]."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...._words import counted
from ..._types import DataError
from ...sources.ragged import Ragged
from ..description import Sequences
from ..gaps import READ_THEM, Gaps
from ..notation import Line, Notation, integers_or_text
from ..table import LARGEST, Table, checked_inputs
from . import index
from .index import Row
from .lines import lines_of


class _Sequence(NamedTuple):
    """The names in the last header line, if it has one for every feature, and [T, d] float64."""

    features: list[str]
    values: np.ndarray


def read(folder: Path, sequences: Sequences, metric: str | None, gaps: Gaps) -> Table:
    """The table of the files that the index names; DataError names the file and the line.

    Labels are read as `metric` needs them, and not at all for None.
    """
    path, root, notation = folder / sequences.index, folder / sequences.folder, sequences.notation
    rows = (index.files if metric is None else index.labelled)(path, root, notation, gaps)
    places = [f"{path}, line {line}" for line, _ in rows]
    table = _of_files([root / row["file"] for _, row in rows], places, root, sequences, gaps)
    return table._replace(
        labels=table.labels if metric is None else _labels(path, rows, metric, notation, places),
        groups=_column(rows, "group"),
        splits=_column(rows, "split"),
        ids=[row["file"] for _, row in rows],
    )


def read_files(files: Sequence[Path], root: Path, sequences: Sequences, gaps: Gaps) -> Table:
    """The table of these files in `root`, which have no labels."""
    table = _of_files(files, list(map(str, files)), root, sequences, gaps)
    return table._replace(ids=[file.relative_to(root).as_posix() for file in files])


def _of_files(
    files: Sequence[Path], places: Sequence[str], root: Path, sequences: Sequences, gaps: Gaps
) -> Table:
    """The sequences in these files, without labels; `places` are where the files are named."""
    found = [_sequence(file, sequences, gaps) for file in files]
    features, width = found[0].features, found[0].values.shape[1]
    for file, place, (names, values) in zip(files, places, found, strict=True):
        named = "" if place == str(file) else f" ({place})"
        if values.shape[1] != width:
            raise DataError(
                f"{file}: expected {counted(width, 'number')} a line as in {files[0].name}, got "
                f"{values.shape[1]}{named}"
            )
        if names != features:
            expected, got = (", ".join(each) or "none" for each in (features, names))
            raise DataError(
                f"{file}: expected the columns {expected} as in {files[0].name}, got {got}{named}"
            )
    return Table(
        checked_inputs(Ragged.of([values for _, values in found]), str(root), gaps),
        np.zeros(len(found)),
        None,
        None,
        places,
        (),
        features,
    )


def _column(rows: Sequence[Row], name: str) -> np.ndarray | None:
    return np.array([row[name] for _, row in rows]) if name in rows[0][1] else None


def _labels(
    path: Path, rows: Sequence[Row], metric: str, notation: Notation, places: Sequence[str]
) -> np.ndarray:
    if metric == "mse":
        return _numbers(path, rows, notation)
    return integers_or_text([row["label"] for _, row in rows], places)


def _sequence(path: Path, sequences: Sequences, gaps: Gaps) -> _Sequence:
    lines = lines_of(path, sequences.notation)
    header, lines = lines[: sequences.header_lines], lines[sequences.header_lines :]
    values = _values(path, lines, sequences.notation, gaps)
    names = header[-1][1] if header and len(header[-1][1]) == values.shape[1] else []
    return _Sequence([name.strip() for name in names], values)


def _values(path: Path, lines: Sequence[Line], notation: Notation, gaps: Gaps) -> np.ndarray:
    """The numbers in these lines of a file, [T, d] float64."""
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
                f"{path}, line {line}: expected {counted(width, 'number')} as in line "
                f"{lines[0][0]}, got {len(cells)}"
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


def _numbers(path: Path, rows: Sequence[Row], notation: Notation) -> np.ndarray:
    for line, row in rows:
        if not notation.is_finite(row["label"]):
            raise DataError(
                f"{path}, line {line}: expected a finite number as label, got {row['label']!r}"
            )
    return np.array([notation.number(row["label"]) for _, row in rows])
