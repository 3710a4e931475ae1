"""New data in one CSV file per sequence: a folder of them, an index, or one file alone."""

from functools import partial
from pathlib import Path

import msgspec

from ..._types import DataError
from ..description import Sequences
from ..gaps import Gaps
from ..keys import Metric
from ..layouts import Reader, reader
from ..sequence_files.index import is_index, tables
from ..sequence_files.reader import read_files
from ..table import Table


def sequences_in(path: Path, training: Sequences) -> Reader:
    """The reader of a folder that may have an index of the name of training, or of a file."""
    if path.is_dir():
        index = path / Path(training.index).name
        if index.is_file():
            return _listed(index, training)
        files = tables(path)
        if not files:
            raise DataError(f"expected a CSV file for every sequence in {path}, found none")
        return partial(_unlabelled, files, path, training)
    if not path.is_file():
        raise DataError(f"expected a sequence, an index or a folder in {path}, found nothing")
    if path.name == Path(training.index).name or is_index(path, training.notation):
        return _listed(path, training)
    return partial(_unlabelled, [path], path.parent, training)


def _listed(index: Path, training: Sequences) -> Reader:
    return reader(index.parent, msgspec.structs.replace(training, index=index.name))


def _unlabelled(
    files: list[Path], root: Path, training: Sequences, metric: Metric | None, gaps: Gaps
) -> Table:
    if metric is not None:
        raise DataError(
            f"expected labels, in an index with the columns file,label, got {root} without one; "
            "give the path of the index"
        )
    return read_files(files, root, training, gaps)
