"""All rows of the files of a long table, as arrays in the order of the files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..._types import DataError
from ..gaps import Gaps, way_out
from ..notation import Notation
from ..table import LARGEST
from .files import TableFile
from .names import NONE, Names, OfSequences, is_named
from .pile import Pile
from .places import Places, place_of
from .times import Times


@dataclass(frozen=True)
class Columns:
    """The columns of a table, by what they mean.

    Attributes:
        of_sequences: columns that are constant within a sequence.
        step_names: the labels of every row, where they are names.
        step_numbers: the labels of every row, where they are numbers.
        floats: whether labels may be floats.
    """

    sequence: str
    of_sequences: Mapping[str, Sequence[str]]
    time: str | None = None
    features: tuple[str, ...] = ()
    step_names: tuple[str, ...] = ()
    step_numbers: tuple[str, ...] = ()
    floats: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of names."""
        constant = [name for names in self.of_sequences.values() for name in names]
        return (self.sequence, *constant, *self.step_names)

    @property
    def kinds(self) -> dict[str, str]:
        """What files read them as."""
        time = {} if self.time is None else {self.time: "time"}
        numbers = dict.fromkeys((*self.features, *self.step_numbers), "number")
        return dict.fromkeys(self.names, "name") | time | numbers


class Gap(NamedTuple):
    """The first gap among the features."""

    row: int
    feature: str


class Rows:
    """S rows of N sequences.

    Attributes:
        values: [S, d] of the features.
        sequences: the names of the sequences, and `numbers` [S] of those of the rows.
        times: [S].
        of_sequences: what is said of sequences, by its meaning.
        step_labels: [S] numbers of `step_names`, or [S, k].
        gap: the first, if there is one.
    """

    def __init__(
        self, columns: Columns, files: Sequence[TableFile], notation: Notation, gaps: Gaps
    ):
        self.columns, self.files = columns, files
        self.sequences = Names(gaps.of_ids.is_gap, as_text=True)
        self.step_names = Names(gaps.is_unlabelled)
        self.values = Pile()
        self.numbers = Pile()
        self.times = Pile()
        self.step_labels = Pile()
        self.of_sequences = {
            meaning: [OfSequences(Names(gaps.is_gap, as_text=meaning != "label")) for _ in names]
            for meaning, names in columns.of_sequences.items()
        }
        self.gap: Gap | None = None
        self.clock = Times(notation)
        self._gaps = gaps
        self._ends = [0]
        types = [file.number_type(name) for file in files for name in columns.features]
        self._type = np.result_type(*types) if types else np.dtype(np.float64)
        for file in files:
            self._add_file(file)

    def __len__(self) -> int:
        return self._ends[-1]

    def place(self, row: int) -> str:
        """The file and the line of a row."""
        return place_of(self.files, self._ends, row)

    def places(self, rows: np.ndarray, names: Sequence[str] | None = None) -> Places:
        """Those of these rows, and of the sequences of these names that begin there."""
        return Places(self.files, self._ends, rows, names)

    def names(self, sequences: np.ndarray) -> list[str]:
        """Of the sequences of these numbers."""
        return [str(self.sequences.values[number]) for number in sequences]

    def said(self, column: OfSequences, sequences: np.ndarray) -> list[str | int | float]:
        """The values in this column of the sequences of these numbers."""
        return [column.names.values[number] for number in column.numbers[sequences]]

    @property
    def is_text(self) -> bool:
        """Whether no file tells integers from text."""
        return all(file.is_text for file in self.files)

    def _add_file(self, file: TableFile) -> None:
        self._ends.append(len(self))
        for batch in file.batches(self.columns.kinds):
            if batch.num_rows:
                self._add(file, batch)
                self._ends[-1] += batch.num_rows

    def _add(self, file: TableFile, batch: pa.RecordBatch) -> None:
        self._check_types(file, batch)
        sequences = self._named(self.sequences, batch, self.columns.sequence, "sequence")
        self.numbers.add(sequences)
        for meaning, names in self.columns.of_sequences.items():
            for name, column in zip(names, self.of_sequences[meaning], strict=True):
                numbers = self._named(column.names, batch, name, meaning)
                self._check_constant(column, sequences, numbers, batch, name)
        if self.columns.time is not None:
            self.times.add(self._timed(batch, self.columns.time))
        for name in self.columns.step_names:
            self.step_labels.add(self.step_names.numbers(batch.column(name)))
        if self.columns.step_numbers:
            labels = self._numbers(file, batch, self.columns.step_numbers, np.dtype(np.float64))
            self.step_labels.add(labels)
        if self.columns.features:
            self._add_features(file, batch)

    def _add_features(self, file: TableFile, batch: pa.RecordBatch) -> None:
        values = self._numbers(file, batch, self.columns.features, self._type)
        self.values.add(values)
        if self.gap is None and values.dtype.kind == "f" and np.isnan(values).any():
            row, feature = np.argwhere(np.isnan(values))[0].tolist()
            self.gap = Gap(len(self) + row, self.columns.features[feature])

    def _check_types(self, file: TableFile, batch: pa.RecordBatch) -> None:
        for name in self.columns.names:
            kind = batch.schema.field(name).type
            floats = self.columns.floats and name in self.columns.of_sequences.get("label", ())
            if not is_named(kind, floats=floats):
                raise DataError(
                    f"{file.path}: expected text or integers in the column {name}, got the type "
                    f"{kind}"
                )

    def _named(self, names: Names, batch: pa.RecordBatch, name: str, what: str) -> np.ndarray:
        numbers = names.numbers(batch.column(name))
        if (numbers == NONE).any():
            row = int(np.argmax(numbers == NONE))
            cell = batch.column(name)[row].as_py() or "none"
            hint = way_out(what) if cell != "none" else ""
            raise DataError(
                f"{self.place(len(self) + row)}: expected a {what} in {name}, got {cell}{hint}"
            )
        return numbers

    def _check_constant(
        self,
        column: OfSequences,
        sequences: np.ndarray,
        numbers: np.ndarray,
        batch: pa.RecordBatch,
        name: str,
    ) -> None:
        others = column.add(sequences, numbers)
        if others.size:
            row = int(others[0])
            sequence = sequences[row]
            first = column.names.values[column.numbers[sequence]]
            step = (
                "; try per_step = true"
                if name in self.columns.of_sequences.get("label", ())
                else ""
            )
            raise DataError(
                f"{self.place(len(self) + row)}: expected one {name} for the sequence "
                f"{self.sequences.values[sequence]}, {first!r} as in its first row, got "
                f"{column.names.values[numbers[row]]!r}{step}"
            )

    def _timed(self, batch: pa.RecordBatch, name: str) -> np.ndarray:
        column, expected = batch.column(name), self.clock.expected
        try:
            return self.clock.read(column)
        except pa.ArrowException:
            row = next(row for row in range(len(column)) if not self._is_time(column[row:][:1]))
        if self.clock.is_of_another_kind(column[row:][:1]):
            expected = self.clock.expected
        raise DataError(
            f"{self.place(len(self) + row)}: expected {expected} in {name}, got "
            f"{column[row].as_py()!r}"
        )

    def _is_time(self, column: pa.Array) -> bool:
        try:
            self.clock.read(column)
        except pa.ArrowException:
            return False
        return True

    def _numbers(
        self, file: TableFile, batch: pa.RecordBatch, names: Sequence[str], kind: np.dtype
    ) -> np.ndarray:
        """[n, d] with NaN for gaps."""
        values = np.empty((batch.num_rows, len(names)), kind)
        for number, name in enumerate(names):
            column = batch.column(name)
            if pa.types.is_decimal(column.type):  # whose own conversion rounds twice
                column = pc.cast(pc.cast(column, pa.string()), pa.float64())
            elif column.null_count and not pa.types.is_floating(column.type):
                whole = pc.cast(column, pa.uint8()) if column.type == pa.bool_() else column
                column = pc.cast(whole, pa.float64(), safe=False)
            cells = column.to_numpy(zero_copy_only=False)
            values[:, number] = cells
            if kind.kind == "f":  # in the type of the column, in which a mark was rounded
                values[self._gaps.among(cells), number] = np.nan
        if kind.kind == "f":
            largest = min(LARGEST, float(np.finfo(kind).max))
            if np.fmax.reduce(np.abs(values), axis=None) > largest:
                row, number = np.argwhere(np.abs(values) > largest)[0].tolist()
                raise file.no_number(len(self) - self._ends[-2] + row, names[number])
        return values
