"""New data in a long table: files of the notation of training, or a DataFrame."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BufferedReader, BytesIO
from pathlib import Path

import msgspec

from ..gaps import Gaps
from ..keys import Metric
from ..layouts import Reader
from ..long_table import reader as long_tables
from ..long_table.files import TableFile, check_has, opened
from ..long_table.keys import LongTable
from ..table import Table
from .piped import Pipe

Opener = Callable[[Gaps], Sequence[TableFile]]


def in_files(paths: Sequence[Path], long: LongTable, features: tuple[str, ...]) -> Reader:
    """The reader of these files, or of those that patterns match; labels may be in another."""
    names = [str(path) for path in paths]
    opener = partial(opened, Path(), names, long.notation)
    return of_open(opener, paths[0].parent, long, features)


def of_open(opener: Opener, folder: Path, long: LongTable, features: tuple[str, ...]) -> Reader:
    """The reader of files that are opened when the gaps are known.

    The columns are those of training; others, such as groups and splits, are not read.
    """
    long = msgspec.structs.replace(long, features=features or long.features, group=None, split=None)
    return partial(_table, opener, folder, long)


def in_pipe(
    stream: BufferedReader | BytesIO, long: LongTable, features: tuple[str, ...], gaps: Gaps
) -> Iterator[Table]:
    """Tables of whole sequences without labels, of CSV that comes through a pipe."""
    long = msgspec.structs.replace(long, features=features or long.features)
    with Pipe(stream, long.notation, gaps) as pipe:
        check_has(pipe.header, _columns(long, None))
        for part in pipe.parts(long.sequence):
            yield long_tables.of_files([part], Path(), long, None, gaps)


def _table(
    opener: Opener, folder: Path, long: LongTable, metric: Metric | None, gaps: Gaps
) -> Table:
    files = opener(gaps)
    for file in files:
        check_has(file, _columns(long, metric))
    return long_tables.of_files(files, folder, long, metric, gaps)


def _columns(long: LongTable, metric: Metric | None) -> list[str]:
    """Those that new data must have."""
    labels = () if metric is None or long.labels is not None else long.label
    time = () if long.time is None else (long.time,)
    return [long.sequence, *time, *(long.features or ()), *labels]
