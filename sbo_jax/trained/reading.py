"""Data as users have them, made what a model reads, as training made its samples."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from .._words import counted, listed
from ..disk.text import Json
from ..tasks._types import DataError
from ..tasks.own import description, keys, limits, missing
from ..tasks.own.description import Description
from ..tasks.own.gaps import Gaps
from ..tasks.own.in_memory import as_sequences
from ..tasks.own.limits import Limit
from ..tasks.own.long_table.formats.frame import is_frame
from ..tasks.own.new_data.reader import NewData
from ..tasks.own.table import Table, checked_inputs
from ..tasks.sources import buckets
from ..tasks.sources.ragged import Ragged
from ..tasks.sources.scaling import Scaler
from ..tasks.sources.sequences import SequenceSource
from ..tasks.sources.texts import Texts, numbered


@dataclass(frozen=True, eq=False)
class Reading:
    """How samples were read in training, and new ones are.

    Attributes:
        num_features: of a step, before indicators of gaps are added.
        features: their names, where the files of training had them.
        scaler: that of training; one that changes nothing where samples were not scaled.
        gaps: what stands for a missing value, and what is done about it.
        limit: how long sequences may be.
        padded_to: the lengths that are compiled, in rising order.
        is_equal: whether all samples of training had one length.
        new_data: how DataFrames and files are read.
    """

    num_features: int
    features: tuple[str, ...]
    scaler: Scaler
    gaps: Gaps
    limit: Limit | None
    padded_to: tuple[int, ...]
    is_equal: bool
    new_data: NewData

    @classmethod
    def of(cls, content: Json) -> "Reading":
        """What config.json says of it."""
        facts, model = content["task"], content["model"]
        described = _description(content.get("layout"))
        scaler = _scaler(facts, model["in_features"])
        features = tuple(facts.get("features", ()))
        return cls(
            num_features=len(scaler.mean),
            features=features,
            scaler=scaler,
            gaps=Gaps() if described is None else described.gaps,
            limit=None if described is None else described.limit,
            padded_to=tuple(facts.get("padded_to", (model["length"],))),
            is_equal="padded_to" not in facts,
            new_data=NewData(described, model["metric"], features),
        )

    def table(self, raw: Any) -> Table:
        """The sequences of data as `TrainedRun` takes them, as they are, without labels.

        Raises:
          DataError: what they have and should not, in one sentence.
        """
        if _is_named(raw):
            return self._checked(self.new_data.unlabelled(raw))
        inputs = as_sequences(raw)
        self._check_number(inputs)
        return _table(checked_inputs(inputs, "inputs", self.gaps), self.features)

    def labelled_table(self, raw: Any) -> Table:
        """The sequences of a DataFrame or of files, and the labels beside them.

        Of a forecast, the sequences of any data.

        Raises:
          DataError: as `table`, and for data without labels.
        """
        if self.new_data.horizon is not None:
            return self.table(raw)  # later inputs are the labels
        if not _is_named(raw):
            raise DataError("expected a DataFrame or a path, got arrays, which have no labels")
        return self._checked(self.new_data.labelled(raw))

    def piped(self, stream: BufferedReader | BytesIO) -> Iterator[Table]:
        """The sequences of a long table as CSV, whole ones and a few MB at a time, without labels.

        Raises:
          DataError: a run that was not trained on a long table, or rows that it cannot read.
        """
        return map(self._checked, self.new_data.piped(stream))

    def _checked(self, table: Table) -> Table:
        """The table, unless its features are others than those of training."""
        found = tuple(table.features)
        if found and self.features and found != self.features:
            raise DataError(
                f"expected the features {listed(self.features)} as in training, found "
                f"{listed(found)}"
            )
        self._check_number(table.inputs)
        return table

    def _check_number(self, inputs: Ragged) -> None:
        found = inputs.values.shape[1]
        if found != self.num_features:
            names = f" ({listed(self.features)})" if self.features else ""
            raise DataError(f"expected {counted(self.num_features, 'feature')}{names}, got {found}")

    def read(self, table: Table) -> tuple[SequenceSource, Ragged]:
        """What the model reads of sequences, and which of their steps: the numbers of these.

        A gap, a step of gaps alone and a long sequence are treated as in training.
        """
        steps = np.concatenate([np.arange(length) for length in table.inputs.lengths])
        parts = {"data": table._replace(labels=Ragged.stored(steps, table.inputs.lengths))}
        marks = self.gaps.stated if table.marks is None else table.marks
        parts, _ = missing.resolved(parts, self.gaps._replace(stated=marks))
        parts, _ = limits.limited(parts, self.limit)
        inputs, kept = parts["data"].inputs, parts["data"].labels
        assert isinstance(kept, Ragged)
        lengths = inputs.lengths
        has_one_length = self.is_equal and bool((lengths == lengths[0]).all())
        targets = np.zeros(len(inputs), np.int32)
        padded_to = (int(lengths[0]),) if has_one_length else self._padded_to(lengths)
        source = SequenceSource(
            inputs, targets, self.scaler, None, padded_to, has_one_length, table.ids
        )
        return source, kept

    def _padded_to(self, lengths: np.ndarray) -> tuple[int, ...]:
        """The lengths that training was padded to, and others for what is longer."""
        beyond = lengths[lengths > self.padded_to[-1]]
        return self.padded_to + (buckets.choose(beyond) if beyond.size else ())


def _is_named(raw: Any) -> bool:
    """Whether data are a DataFrame, a path or paths, and not arrays."""
    first = raw[0] if isinstance(raw, list | tuple) and raw else raw
    return is_frame(raw) or isinstance(first, str | os.PathLike)


def _table(inputs: Ragged, features: Sequence[str]) -> Table:
    count = len(inputs)
    places = Texts(count, lambda index: f"sample {index}")
    return Table(inputs, np.zeros(count, np.int64), None, None, places, numbered(count), features)


def _description(layout: Mapping[str, Any] | None) -> Description | None:
    return None if layout is None else description.described(Path(), keys.read(layout))


def _scaler(facts: Json, in_features: int) -> Scaler:
    if "mean" not in facts:
        return Scaler(np.zeros(in_features), np.ones(in_features))
    mean, std = (np.asarray(facts[name], np.float64) for name in ("mean", "std"))
    return Scaler(mean, std, tuple(facts.get("indicated", ())))
