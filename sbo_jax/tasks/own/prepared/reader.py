"""A long table, read from its prepared copy where there is one.

A copy is of files of this content that are read in this way, and is believed by the checksum of its
own content alone. Where anything is wrong with it, the files are read: no run fails for it.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pyarrow as pa

from ...._version import __version__
from ....disk.digests import digests
from ..description import Description
from ..long_table import reader as long_tables
from ..long_table.files import COPIES, TableFile, opened
from ..long_table.keys import LongTable
from ..table import Table
from . import contents
from .copies import Copies

# What a copy looks like.
_FORMAT = 2
# Smaller files are read in a moment.
_FEWEST_BYTES = 10**8


def read(described: Description, long: LongTable) -> tuple[Table, str]:
    """The table, and a sentence about its copy, "" without one.

    Where there is no copy yet, one is written, if there is room for it.
    """
    folder = described.path.parent
    files = opened(folder, long.tables, long.notation, described.gaps)
    paths = [file.path for file in files]
    if long.labels is not None:
        paths.append(folder / long.labels)
    if not (long.prepared and _are_large(paths)):
        return long_tables.of_files(files, folder, long, described.metric, described.gaps), ""
    states, key = _states(paths), _key(described, long, paths)
    copies = Copies(folder / COPIES, described.path.name)
    if (found := copies.read(key)) is not None:
        labelled = files if long.labels is None else _labels(described, long)
        return contents.table(found, labelled), f"Read from the prepared copy in {copies.root}"
    table = long_tables.of_files(files, folder, long, described.metric, described.gaps)
    table = table._replace(known_sha256=table.sha256())
    # what changed while it was read has another key
    if _states(paths) != states or not copies.write(key, contents.of(table)):
        return table, ""
    return table, (
        f"Later starts read the prepared copy in {copies.root}, {copies.size(key) / 1e9:.1f} GB; "
        f"prepared = false in {described.path.name} keeps none"
    )


def _are_large(paths: Sequence[Path]) -> bool:
    return all(path.is_file() for path in paths) and (
        sum(path.stat().st_size for path in paths) >= _FEWEST_BYTES
    )


def _states(paths: Sequence[Path]) -> list[tuple[int, ...]]:
    """What changes with the content of a file."""
    found = [os.stat(path) for path in paths]
    return [(each.st_ino, each.st_size, each.st_mtime_ns, each.st_ctime_ns) for each in found]


def _key(described: Description, long: LongTable, paths: Sequence[Path]) -> str:
    """The SHA-256 of the content of the files, and of all that decides what is read of it."""
    gaps = described.gaps
    decides = {
        "format": _FORMAT,
        "versions": [__version__, pa.__version__],
        "table": msgspec.to_builtins(long),
        "metric": described.metric,
        "gaps": [gaps.stated, gaps.classes, gaps.are_refused],
        "files": [[path.name, sha256] for path, sha256 in zip(paths, digests(paths), strict=True)],
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _labels(described: Description, long: LongTable) -> Sequence[TableFile]:
    """The second table, where labels are."""
    path = described.path.parent / str(long.labels)
    return opened(path.parent, [path.name], long.notation, described.gaps)
