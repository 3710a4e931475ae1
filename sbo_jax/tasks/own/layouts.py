"""The table of the files that a description names, whatever their layout."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

from .archives import reader as archives
from .arrays import reader as arrays
from .description import Archive, Arrays, Layout
from .gaps import Gaps
from .keys import Metric
from .long_table import reader as long_tables
from .long_table.keys import LongTable
from .sequence_files import reader as sequence_files
from .table import Table

Reader: TypeAlias = Callable[[Metric | None, Gaps], Table]
"""Reads labels as a metric needs them, or none."""


def reader(folder: Path, data: Layout) -> Reader:
    """That of files in this folder; DataError names the file and the line at fault."""
    if isinstance(data, LongTable):
        return partial(long_tables.read, folder, data)
    if isinstance(data, Archive):
        return partial(archives.read, folder, data)
    if isinstance(data, Arrays):
        return partial(arrays.read, folder, data)
    return partial(sequence_files.read, folder, data)
