"""Labelled sequences as read from the files, before anything is split or encoded."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .._types import DataError
from ..sources.ragged import Ragged
from ..sources.texts import taken
from .gaps import READ_THEM, Gaps

# inputs are converted to float32
LARGEST = float(np.finfo(np.float32).max)
_BLOCK = 2**18  # steps that are checked together


NO_LABEL = np.iinfo(np.int64).min
"""Stands for a step without a label where labels are integers."""


class Table(NamedTuple):
    """N sequences; `places[i]` names the file and the line (or sample) of label i.

    Attributes:
        inputs: sequences [T_i, d] of a real type.
        labels: [N] integers or text, [N] or [N, k] numbers to regress, or either of every step.
        groups: [N].
        splits: [N] "train", "validation" or "test".
        ids: [N], what names a sequence for a user: the value of its column or its file, or else its
            number in its file, from 0.
        features: their names, where the files have them.
        times: [S], of the steps of all sequences, where a column has them; numbers or dates.
        known_sha256: the checksum, where it is known already.
        marks: what stands for a gap in inputs that are not those of training; None for what does
            in these.
    """

    inputs: Ragged
    labels: np.ndarray | Ragged
    groups: np.ndarray | None
    splits: np.ndarray | None
    places: Sequence[str]
    ids: Sequence[str]
    features: Sequence[str] = ()
    times: np.ndarray | None = None
    known_sha256: str | None = None
    marks: tuple[float | str, ...] | None = None

    def take(self, rows: np.ndarray) -> "Table":
        """The samples at these indices, without their times."""
        labels = self.labels
        return Table(
            self.inputs.take(rows),
            labels.take(rows) if isinstance(labels, Ragged) else labels[rows],
            None if self.groups is None else self.groups[rows],
            None if self.splits is None else self.splits[rows],
            taken(self.places, rows),
            taken(self.ids, rows),
            self.features,
        )

    @property
    def label_values(self) -> np.ndarray:
        """All labels, those of every step one after another."""
        return self.labels.values if isinstance(self.labels, Ragged) else self.labels

    @property
    def num_outputs(self) -> int:
        """k, the numbers in a label."""
        values = self.label_values
        return values.shape[1] if values.ndim == 2 else 1

    def place_of(self, label: str | int) -> str:
        """Where the first of these labels is."""
        if not isinstance(self.labels, Ragged):
            return self.places[int(np.argmax(self.labels == label))]
        row = next(row for row, labels in enumerate(self.labels) if (labels == label).any())
        return self.places[row]

    def sha256(self) -> str:
        """A checksum of everything except the places: equal for equal data anywhere."""
        if self.known_sha256 is not None:
            return self.known_sha256
        digest = hashlib.sha256()
        for part in (self.inputs, self.labels, self.groups, self.splits):
            for array in _arrays(part):
                digest.update(f"{array.dtype.str} {array.shape} ".encode())
                digest.update(np.ascontiguousarray(array).data)
            digest.update(b"|")
        return digest.hexdigest()


def without_label(labels: np.ndarray) -> np.ndarray:
    """Where steps have no label: an empty text, or the least integer."""
    return labels == ("" if labels.dtype.kind == "U" else NO_LABEL)


def _arrays(part: Ragged | np.ndarray | None) -> Iterator[np.ndarray]:
    if isinstance(part, Ragged):
        yield part.lengths
        yield from part.blocks()
    elif part is not None:
        yield part


def check_range(labels: np.ndarray, where: str) -> None:
    """DataError for numbers to predict [N] or [N, k] beyond float32."""
    large = np.abs(labels) > LARGEST
    if large.any():
        sample = int(np.argwhere(large)[0][0])
        raise DataError(
            f"{where}: expected labels in the range of float32, got {labels[sample]} in sample "
            f"{sample}; choose another unit"
        )


def checked_inputs(inputs: Ragged, where: str, gaps: Gaps) -> Ragged:
    """Sequences [T_i, d] of a real type, in the range of float32, without refused gaps."""
    values = inputs.values
    if values.dtype.kind not in "biuf":
        raise DataError(f"{where}: expected real numbers, got the type {values.dtype}")
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        missing = gaps.among(block)
        outside = (np.abs(block.astype(np.float64, copy=False)) > LARGEST) & ~missing
        wrong = outside | missing if gaps.are_refused else outside
        if wrong.any():
            row, feature = np.argwhere(wrong)[0].tolist()
            hint = READ_THEM if missing[row, feature] else ""
            raise _out_of_range(inputs, start + row, feature, where, hint)
    return inputs


def _out_of_range(inputs: Ragged, row: int, feature: int, where: str, hint: str) -> DataError:
    sample = int(np.searchsorted(inputs.starts, row, side="right")) - 1
    with np.errstate(over="ignore"):
        value = np.float32(inputs.values[row, feature])
    return DataError(
        f"{where}: expected finite numbers in the range of float32, got {value} in sample "
        f"{sample}, step {row - inputs.starts[sample]}, feature {feature} (counted from 0){hint}"
    )
