"""The table of new data: a DataFrame, or the path of files in the layout of those of training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import msgspec

from ....disk.paths import local_path
from ..._types import DataError
from ...faults import naming
from .. import description
from ..archives import reader as archives
from ..description import FILE, Arrays, Description, Sequences
from ..gaps import Gaps
from ..keys import Metric
from ..layouts import Reader, reader
from ..long_table.formats.frame import Frame, is_frame
from ..long_table.keys import LongTable
from ..table import Table
from . import tables
from .array_files import OF_CATALOGUE, arrays_in
from .sequence_files import sequences_in

_OTHERS = (".npz", ".npy", ".ts", ".arff", ".parquet")
_FRAME = (
    "expected a run that was trained on a long table, whose columns a DataFrame has, got one that "
    "was trained on {}; try an array [N, T, d], a list of arrays [T, d], or a path"
)


@dataclass(frozen=True)
class NewData:
    """Reads new data as those of a training run were read.

    Attributes:
        described: what dataset.toml said in training; None for a task of the catalogue, whose new
            data are arrays.
        metric: what labels are for.
        features: the names of the features in training, which a long table must have as columns.
    """

    described: Description | None
    metric: Metric
    features: tuple[str, ...]

    @property
    def horizon(self) -> int | None:
        """How many steps later the features are that are predicted; None for labels."""
        return None if self.described is None else self.described.horizon

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the numbers that are predicted, where the files of training had them."""
        if self.described is None:
            return ()
        if self.horizon is not None:
            return self.features
        return self.described.data.label if isinstance(self.described.data, LongTable) else ()

    def unlabelled(self, raw: Any) -> Table:
        """The sequences alone: labels are not read, even if there are any."""
        return self._read(raw, None)

    def labelled(self, raw: Any) -> Table:
        """The sequences and their labels; DataError for data that have none.

        A run that forecasts needs none: later inputs are its labels.
        """
        return self._read(raw, None if self.horizon is not None else self.metric)

    def piped(self, stream: BufferedReader | BytesIO) -> Iterator[Table]:
        """Whole sequences without labels, a few MB at a time, of CSV that comes through a pipe.

        The rows of a sequence must be together; what is held is said in `piped`.
        """
        if self.described is None or not isinstance(self.described.data, LongTable):
            raise DataError(
                "expected a run that was trained on a long table to read standard input, got one "
                f"that was trained on {self._layout}; try the path of files"
            )
        gaps = self._gaps(self.described)
        return tables.in_pipe(stream, self.described.data, self.features, gaps)

    def _read(self, raw: Any, metric: Metric | None) -> Table:
        if is_frame(raw):
            return self._frame(raw)(metric, self._gaps(self.described))
        paths = [local_path(each, DataError) for each in _listed(raw)]
        if len(paths) == 1 and (paths[0].suffix == ".toml" or (paths[0] / FILE).is_file()):
            there = description.read_unlabelled(paths[0], self.metric)
            with naming(there.path):
                if metric is not None:
                    _check_labelled(there)
                gaps = self._gaps(there)
                return self._described(there)(metric, gaps)._replace(marks=gaps.stated)
        return self._files(paths)(metric, self._gaps(self.described))

    def _frame(self, raw: Any) -> Reader:
        if self.described is None or not isinstance(self.described.data, LongTable):
            raise DataError(_FRAME.format(self._layout))
        opener = partial(_frames, raw)
        return tables.of_open(opener, Path(), self.described.data, self.features)

    def _described(self, there: Description) -> Reader:
        """The reader of the files that a description of the new data names."""
        folder, data = there.path.parent, there.data
        if isinstance(data, LongTable):
            names = [folder / name for name in data.tables]
            return tables.in_files(names, self._with_labels_of_training(data), self.features)
        if isinstance(data, Arrays):
            return reader(folder, msgspec.structs.replace(data, groups=None))
        return reader(folder, data)

    def _files(self, paths: Sequence[Path]) -> Reader:
        """The reader of files in the layout of training."""
        data = OF_CATALOGUE if self.described is None else self.described.data
        if isinstance(data, LongTable):
            return tables.in_files(paths, data, self.features)
        if len(paths) != 1:
            raise DataError(f"expected one path of {self._layout}, got {len(paths)}")
        (path,) = paths
        if isinstance(data, Sequences):
            if path.suffix in _OTHERS:
                raise DataError(
                    f"expected {self._layout}, as in training, got {path}; describe data of "
                    f"another layout in a {FILE}, and give that"
                )
            return sequences_in(path, data)
        if path.is_dir():
            raise DataError(
                f"expected {self._layout}, as in training, or a folder with a {FILE}, got the "
                f"folder {path} without one"
            )
        if isinstance(data, Arrays):
            return arrays_in(path, data)
        archives.check_kind(path, self.metric)
        return partial(archives.read_file, path)

    def _with_labels_of_training(self, data: LongTable) -> LongTable:
        """Numbers to predict in the order of training; DataError for others."""
        expected = self.outputs
        if self.metric == "accuracy" or self.horizon is not None or not (expected and data.label):
            return data
        if set(data.label) != set(expected):
            raise DataError(
                f"expected the labels {', '.join(expected)} as in training, got "
                f"{', '.join(data.label)}"
            )
        return msgspec.structs.replace(data, label=expected)

    @property
    def _layout(self) -> str:
        """What the files of training were, in words."""
        data = None if self.described is None else self.described.data
        words = {
            LongTable: "a long table (.csv, .csv.gz, .parquet, a list of them or a pattern)",
            Sequences: "sequence files (a folder of them, an index, or one file)",
            Arrays: "arrays (.npz, .npz:KEY or .npy)",
            type(None): "arrays (.npz, .npz:KEY or .npy)",
        }
        return words.get(type(data), "an archive (.ts or .arff)")

    def _gaps(self, there: Description | None) -> Gaps:
        """What a gap looks like there, and what training did about one."""
        if self.described is None or there is None:
            return Gaps() if there is None else there.gaps._replace(missing="refuse")
        own = self.described.gaps
        return there.gaps._replace(classes=own.classes, missing=own.missing)


def _check_labelled(there: Description) -> None:
    """DataError for a description that does not say where labels are."""
    key = {LongTable: "label", Arrays: "labels"}.get(type(there.data))
    if key is not None and not getattr(there.data, key):
        raise DataError(f"{there.path}: expected {key}, which says where labels are, got none")


def _listed(raw: Any) -> Sequence[Any]:
    return raw if isinstance(raw, list | tuple) else [raw]


def _frames(raw: Any, gaps: Gaps) -> Sequence[Frame]:
    return [Frame(raw, gaps)]
