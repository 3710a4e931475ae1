"""What the tables say of sequences: labels, groups and splits."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..._types import DataError
from ...sources.ragged import Ragged
from ...sources.texts import Texts
from ..gaps import Gaps, way_out_of_step
from ..notation import Notation, integers_or_text
from ..table import LARGEST, NO_LABEL
from .files import check_columns, opened
from .keys import LongTable
from .order import Order
from .places import Places
from .rows import Columns, Rows

_SPLITS = ("train", "validation", "test")


class Said(NamedTuple):
    """Of N sequences; `places` are where the labels are."""

    labels: np.ndarray
    groups: np.ndarray | None
    splits: np.ndarray | None
    places: Places


def said(
    rows: Rows, sequences: np.ndarray, places: Places, long: LongTable, metric: str | None
) -> Said:
    """What these rows say of the sequences of these numbers."""
    columns = {
        meaning: [rows.said(column, sequences) for column in columns]
        for meaning, columns in rows.of_sequences.items()
    }
    groups, splits = columns.get("group"), columns.get("split")
    if splits is not None:
        _check_splits(splits[0], places)
    own = columns.get("label")
    if own is None:  # every step has its own
        found = np.zeros(len(sequences))
    elif metric == "mse":
        numbers = [_numbers(column, places, long.notation) for column in own]
        found = numbers[0] if len(own) == 1 else np.stack(numbers, axis=1)
    else:
        found = _classes(own[0], places, rows.is_text)
    return Said(
        found,
        None if groups is None else np.array(groups[0]),
        None if splits is None else np.array(splits[0]),
        places,
    )


def of_second_table(
    path: Path, names: Sequence[str], places: Texts, long: LongTable, metric: str | None, gaps: Gaps
) -> Said:
    """What a table with one row for each of these sequences says of them."""
    files = opened(path.parent, [path.name], long.notation, gaps)
    columns = Columns(long.sequence, long.of_sequences, floats=metric == "mse")
    for file in files:
        check_columns(file, list(columns.kinds))
    rows = Rows(columns, files, long.notation, gaps)
    own = rows.numbers.whole() if len(rows) else np.zeros(0, np.int32)
    _, first = np.unique(own, return_index=True)
    if len(first) < len(own):
        row = int(np.setdiff1d(np.arange(len(own)), first)[0])
        name = rows.sequences.values[own[row]]
        raise DataError(f"{rows.place(row)}: expected every sequence once, got {name} again")
    row_of = {str(name): row for row, name in enumerate(rows.sequences.values)}
    for index, name in enumerate(names):
        if name not in row_of:
            raise DataError(
                f"{path}: expected a row for every sequence, got none for {name} ({places[index]})"
            )
    if unknown := row_of.keys() - set(names):
        row = min(row_of[name] for name in unknown)
        raise DataError(
            f"{rows.place(row)}: expected a sequence of the table, got "
            f"{rows.sequences.values[row]!r}, which has no rows there"
        )
    chosen = np.array([row_of[name] for name in names])
    return said(rows, chosen, rows.places(chosen), long, metric)


def of_steps(rows: Rows, labels: np.ndarray, placing: Order, gaps: Gaps) -> Ragged:
    """The labels of every step, of their numbers among the names or as they are."""
    if rows.columns.step_names:
        values = rows.step_names.values

        def place(index: int) -> str:
            return rows.place(placing.row(int(np.argmax(labels == index))))

        for index, value in enumerate(values):
            if gaps.is_gap(str(value)):
                hint = way_out_of_step(str(value))
                raise DataError(f"{place(index)}: expected a label, got {value}{hint}")
        known = _classes(values, Texts(len(values), place), rows.is_text)
        none = np.array("" if known.dtype.kind == "U" else NO_LABEL, known.dtype)
        labels = np.append(known, none)[labels]  # the number of none is -1
    elif labels.shape[1] == 1:
        labels = labels[:, 0]
    return Ragged.stored(labels, placing.lengths)


def _classes(labels: Sequence[str | int | float], places: Texts, is_text: bool) -> np.ndarray:
    """Integers or text, as the file has them; a CSV file does not say which."""
    if not labels:
        raise DataError("expected labels, got none in any row")
    kinds = {type(label) for label in labels}
    if is_text and kinds == {str}:
        return integers_or_text([str(label) for label in labels], places)
    if len(kinds) > 1:
        raise DataError(f"{places[0]}: expected labels of one kind, got {labels[0]!r} and others")
    return np.array(labels)


def _numbers(labels: Sequence[str | int | float], places: Texts, notation: Notation) -> np.ndarray:
    numbers = np.empty(len(labels))
    for index, label in enumerate(labels):
        is_number = notation.is_finite(label) if isinstance(label, str) else abs(label) <= LARGEST
        if not is_number:
            raise DataError(f"{places[index]}: expected a finite number as label, got {label!r}")
        numbers[index] = notation.number(label) if isinstance(label, str) else label
    return numbers


def _check_splits(splits: Sequence[str | int | float], places: Texts) -> None:
    for index, split in enumerate(splits):
        if split not in _SPLITS:
            raise DataError(
                f"{places[index]}: expected a split among {', '.join(_SPLITS)}, got {split}"
            )
