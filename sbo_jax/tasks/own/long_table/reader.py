"""The table of sequences that a long table holds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..._types import DataError
from ...sources.ragged import Ragged
from ..gaps import READ_THEM, Gaps
from ..table import Table
from . import labels, order
from .files import TableFile, check_columns, opened
from .keys import LongTable
from .order import Order
from .pile import put_in_order
from .places import Places
from .rows import Columns, Rows

_PANDAS_INDEX = "__index_level_"
_NANOSECONDS = "datetime64[ns]"


def read(folder: Path, long: LongTable, metric: str | None, gaps: Gaps) -> Table:
    """The table of these files; DataError names the file, the line and the column at fault.

    Labels are read as `metric` needs them, and not at all for None.
    """
    return of_files(opened(folder, long.tables, long.notation, gaps), folder, long, metric, gaps)


def of_files(
    files: Sequence[TableFile], folder: Path, long: LongTable, metric: str | None, gaps: Gaps
) -> Table:
    """The table of files that are open; a second one, of labels, is in this folder."""
    long = long if metric is not None else long.without_labels
    rows = Rows(_columns(long, files, metric), files, long.notation, gaps)
    if not len(rows):
        raise DataError(f"{files[0].path}: expected a row for every step, got none")
    times = None if long.time is None else rows.times.whole()
    placing = _order(rows, long, times)
    if rows.gap is not None and gaps.are_refused:
        raise DataError(
            f"{rows.place(rows.gap.row)}: expected a number for {rows.gap.feature}, got a gap"
            f"{READ_THEM}, or leave the sequence out"
        )
    names = rows.names(placing.names)
    places = _places(rows, placing, names)
    if long.labels is None:
        said = labels.said(rows, placing.names, places, long, metric)
    else:
        said = labels.of_second_table(folder / long.labels, names, places, long, metric, gaps)
    steps = put_in_order(rows.step_labels.whole(), placing.rows) if long.per_step else None
    return Table(
        Ragged.stored(put_in_order(rows.values.whole(), placing.rows), placing.lengths),
        said.labels if steps is None else labels.of_steps(rows, steps, placing, gaps),
        said.groups,
        said.splits,
        said.places,
        names,
        rows.columns.features,
        None if times is None else _dated(rows, put_in_order(times, placing.rows)),
    )


def _dated(rows: Rows, times: np.ndarray) -> np.ndarray:
    return times if rows.clock.unit == 1 else times.view(_NANOSECONDS)


def _columns(long: LongTable, files: Sequence[TableFile], metric: str | None) -> Columns:
    here = {} if long.labels else long.of_sequences
    steps = long.label if long.per_step else ()
    features = _features(long, files)
    columns = Columns(
        long.sequence,
        here,
        long.time,
        features,
        step_names=() if metric == "mse" else steps,
        step_numbers=steps if metric == "mse" else (),
        floats=metric == "mse",
    )
    for file in files:
        check_columns(file, list(columns.kinds))
    return columns


def _features(long: LongTable, files: Sequence[TableFile]) -> tuple[str, ...]:
    """Those that are stated, or all columns that mean nothing else."""
    said = [name for names in long.of_sequences.values() for name in names]
    if long.labels is not None:
        twice = [name for name in said if name in files[0].names]
        if twice:
            raise DataError(
                f"{files[0].path}: expected {twice[0]} in one table, got it in {long.labels} as "
                "well; leave labels out, or rename it there"
            )
    if long.features is not None:
        return long.features
    meant = {long.sequence, *said, *long.label, *([] if long.time is None else [long.time])}
    features = tuple(name for name in files[0].names if name not in meant)
    if odd := [name for name in features if not name or name.startswith(_PANDAS_INDEX)]:
        raise DataError(
            f"{files[0].path}: expected columns of features beside others, got {odd[0]!r}, which "
            "may be a count of the rows; name the features"
        )
    if not features:
        raise DataError(f"{files[0].path}: expected columns of features beside others, got none")
    for file in files[1:]:
        if set(file.names) != set(files[0].names):
            other = sorted(set(file.names) ^ set(files[0].names))[0]
            raise DataError(
                f"{file.path}: expected the columns of {files[0].path.name}, got {other} in one of "
                "the two; name the features"
            )
    return features


def _order(rows: Rows, long: LongTable, times: np.ndarray | None) -> Order:
    """The order of the rows; DataError for times that are equal, or too far apart."""
    numbers = rows.numbers.whole()
    placing = order.of_rows(numbers, len(rows.sequences.values), times)
    if times is None:
        return placing
    place = order.first_step(placing, times, lambda steps: steps == 0)
    if place is not None:
        raise _no_step(rows, placing, place, times, "every time once in a sequence")
    if long.max_gap is not None:
        limit = long.max_gap * rows.clock.unit + order.rounding(times)
        place = order.first_step(placing, times, lambda steps: steps > limit)
        if place is not None:
            unit = " s" if rows.clock.unit > 1 else ""
            expected = f"steps of at most max_gap = {long.max_gap:g}{unit} in {long.time}"
            raise _no_step(rows, placing, place, times, expected)
    return placing


def _no_step(rows: Rows, placing: Order, place: int, times: np.ndarray, expected: str) -> DataError:
    before, row = placing.row(place - 1), placing.row(place)
    sequence = int(np.searchsorted(np.cumsum(placing.lengths), place, side="right"))
    kind = times.dtype if rows.clock.unit == 1 else np.dtype(_NANOSECONDS)
    first, second = (np.asarray(times[each]).astype(kind) for each in (before, row))
    name = rows.names(placing.names[[sequence]])[0]
    return DataError(
        f"{rows.place(row)}: expected {expected}, got {second!s} after {first!s} in the sequence "
        f"{name}; the row before is in {rows.place(before)}"
    )


def _places(rows: Rows, placing: Order, names: Sequence[str]) -> Places:
    firsts = np.cumsum(placing.lengths) - placing.lengths
    return rows.places(firsts if placing.rows is None else placing.rows[firsts], names)
