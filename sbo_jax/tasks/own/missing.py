"""What is done about gaps in the inputs, once the samples are split.

With "mask", a step where every feature is missing is left out, as a masked step of a recurrent
network would be; other gaps become NaN, for which a `Scaler` has the mean and an indicator. With
"carry", a gap first takes the last value of its feature in the sequence; those before the first
value are treated as with "mask".
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._types import DataError
from ..sources.ragged import Ragged
from .gaps import Gaps
from .table import Table


def resolved(parts: Mapping[str, Table], gaps: Gaps) -> tuple[dict[str, Table], dict[str, Any]]:
    """The parts without steps that are gaps alone, and facts of what happened in each part."""
    if gaps.are_refused:
        return dict(parts), {}
    results = {name: _resolved(part, gaps) for name, part in parts.items()}
    facts = {name: info for name, (_, info) in results.items()}
    return (
        {name: part for name, (part, _) in results.items()},
        {"missing": {"treatment": gaps.missing, **facts}},
    )


def _resolved(part: Table, gaps: Gaps) -> tuple[Table, dict[str, Any]]:
    found, empty = np.zeros(part.inputs.values.shape[1], np.int64), 0
    for block in part.inputs.blocks():
        missing = gaps.among(block)
        found += missing.sum(axis=0)
        empty += int(missing.all(axis=1).sum())
    carried = 0
    if found.any() and (empty or gaps.has_numbers or gaps.missing == "carry"):
        part, carried, empty = _without_empty_steps(part, gaps)
    return part, {"gaps": found.tolist(), "carried": carried, "skipped_steps": empty}


def _without_empty_steps(part: Table, gaps: Gaps) -> tuple[Table, int, int]:
    """A copy, with the numbers of values carried and of steps left out."""
    inputs = part.inputs
    count, kind = int(inputs.lengths.sum()), inputs.values.dtype
    if kind.kind != "f":
        kind = np.result_type(kind, np.float32)
    values = np.empty((count, inputs.values.shape[1]), kind)
    kept, carried = np.empty(count, bool), 0
    first = end = 0
    for piece in inputs.pieces():
        block = piece.values.astype(kind)
        block[gaps.among(piece.values)] = np.nan
        if gaps.missing == "carry":
            carried += _carry(block, np.repeat(piece.starts, piece.lengths))
        own = ~np.isnan(block).all(axis=1)
        kept[first : first + len(own)] = own
        first, start, end = first + len(own), end, end + int(own.sum())
        values[start:end] = block[own]
    lengths, labels = _lengths(part, kept), part.labels
    if isinstance(labels, Ragged):
        labels = Ragged.stored(np.concatenate(list(labels))[kept], lengths)
    part = part._replace(inputs=Ragged.stored(values[:end], lengths), labels=labels)
    return part, carried, count - end


def _lengths(part: Table, kept: np.ndarray) -> np.ndarray:
    """How many steps of every sequence are kept; DataError for one that has none."""
    starts = np.cumsum(part.inputs.lengths) - part.inputs.lengths
    lengths = np.add.reduceat(kept, starts, dtype=np.int64)
    if not lengths.all():
        place = part.places[int(np.argmin(lengths > 0))]
        raise DataError(
            f"{place}: expected values in every sequence, got gaps alone; leave the sequence out"
        )
    return lengths


def _carry(values: np.ndarray, firsts: np.ndarray) -> int:
    """Fill gaps, in place, with the value before them, if its row is not before `firsts`; count."""
    rows, count = np.arange(len(values)), 0
    for column in values.T:
        missing = np.isnan(column)
        if missing.any():
            last = np.maximum.accumulate(np.where(missing, -1, rows))
            filled = missing & (last >= firsts)
            column[filled] = column[last[filled]]
            count += int(filled.sum())
    return count
