"""Run folders in a bucket: kept on this machine, and copied there after every save.

A bucket has no renames and no locks, so what is written safely on a disk is copied: new files
first, then what they replace is removed. A copy that was cut short shows in the digests of what it
copied, and the checkpoint before is still there. Two runs must not share a folder of a bucket.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .claims import is_claim
from .paths import is_temporary

# What pathlib makes of gs://bucket/run has one slash.
_ADDRESS = re.compile(r"(gs|s3):/+(.+)")


def bucket_path(path: str | os.PathLike[str]) -> Any:
    """The folder of a bucket that an address such as ``gs://bucket/run`` names, or None.

    Raises:
      ValueError: a package that reaches such a bucket is not installed.
    """
    match = _ADDRESS.fullmatch(os.fspath(path))
    if match is None:
        return None
    from etils import epath  # comes with orbax

    folder = epath.Path(f"{match[1]}://{match[2]}")
    try:
        folder.exists()
    except ImportError as error:
        raise ValueError(f"expected a way to reach {folder}, got none: {error}") from error
    return folder


class Copy:
    """A folder of this machine, and the bucket's folder that it is copied to."""

    def __init__(self, bucket: Any):
        self.bucket = bucket
        self.path = Path(tempfile.mkdtemp(), "run")
        self._copied: dict[Path, tuple[int, int]] = {}

    def fetch(self, *names: str) -> None:
        """Copy from the bucket what has these names in it, by default all."""
        self.path.mkdir(exist_ok=True)
        wanted = [self.bucket / name for name in names] if names else [self.bucket]
        for file in _files(path for path in wanted if path.exists()):
            here = self.path / file.relative_to(self.bucket)
            here.parent.mkdir(parents=True, exist_ok=True)
            here.write_bytes(file.read_bytes())
            self._copied[file.relative_to(self.bucket)] = _signature(here)

    def send(self) -> None:
        """Copy to the bucket what is new here, then remove there what is gone."""
        here = {path.relative_to(self.path): path for path in _files([self.path])}
        here = {name: p for name, p in here.items() if not (is_claim(p) or is_temporary(p))}
        for name in sorted(here, key=_place):
            signature = _signature(here[name])
            if self._copied.get(name) != signature:
                there = self.bucket / name
                there.parent.mkdir(parents=True, exist_ok=True)
                there.write_bytes(here[name].read_bytes())
                self._copied[name] = signature
        for name in self._copied.keys() - here.keys():
            (self.bucket / name).unlink(missing_ok=True)
            del self._copied[name]

    def remove(self) -> None:
        """Remove what is on this machine."""
        shutil.rmtree(self.path.parent)


def _place(name: Path) -> tuple[bool, bool, int, Path]:
    """Where the order in which files are copied has one.

    Lines go before the checkpoints that count them. What is a checkpoint or a model by its record
    has all else by then, and the record its content before its marks.
    """
    is_record = name.parent.name == "record"
    return is_record, is_record and name.name != "metadata", len(name.parts), name


def _files(paths: Iterable[Any]) -> Iterator[Any]:
    for path in paths:
        if path.is_dir():
            yield from _files(path.iterdir())
        else:
            yield path


def _signature(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
