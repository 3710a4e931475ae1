"""The folder of copies beside a description: complete ones, each of a key, and nothing else.

    .sbo_jax/KEY/NAME.npy     the arrays of a copy
    .sbo_jax/KEY/texts.json   names of sequences, and what else is no array
    .sbo_jax/KEY/copy.json    the SHA-256 of these files, and the description that it is for
    .sbo_jax/.KEY.tmp/        one that is being written, or removed
    .sbo_jax/.lock            while a process writes

A process that is killed leaves nothing that the next one would believe, or keep.
"""

import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import IO, Literal, NamedTuple

import numpy as np
from numpy.lib import format as npy

from ....disk.claims import claim_folder
from ....disk.digests import digests
from ....disk.paths import is_temporary, temporary_beside
from ....disk.readers import hold, is_read
from ....disk.space import check_room
from .contents import Contents

_VALUES, _LABELS, _TEXTS, _RECORD = "values.npy", "labels.npy", "texts.json", "copy.json"
# What tells other programs to leave the folder out: git, and those that make backups.
_TAGS = {
    ".gitignore": "*\n",
    "CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n# Copies made by sbo_jax\n",
}


class Copies(NamedTuple):
    """Those in a folder, for a description of this name; there is one of each description."""

    root: Path
    description: str

    def read(self, key: str) -> Contents | None:
        """What a copy holds; None where there is none, or none that is whole."""
        try:
            return _read(self.root / key)
        except Exception:  # whatever a damaged file makes its reader raise
            return None

    def write(self, key: str, contents: Contents) -> bool:
        """Whether there is a copy now, in the place of the one before.

        There is none where another process writes, where nobody may, or where the disk is full.
        """
        try:
            claim = claim_folder(self.root)
        except ValueError:
            return False
        try:
            self._make_room(key, sum(array.nbytes for array in contents.arrays.values()))
            self._write(self.root / key, contents)
        except (OSError, ValueError):  # also of arrays that NumPy does not write
            return False
        finally:
            _clear(self.root)
            claim.release()
        return True

    def size(self, key: str) -> int:
        """Of a copy, in bytes."""
        return sum(path.stat().st_size for path in (self.root / key).iterdir())

    def _make_room(self, key: str, num_bytes: int) -> None:
        """OSError where there is no room for so many bytes, and as many for what else is written.

        Copies that are of no use any more are removed: of this description, and of those that are
        gone.
        """
        _clear(self.root)
        for copy in self.root.iterdir():
            if re.fullmatch("[0-9a-f]{64}", copy.name) and not is_read(copy / _VALUES):
                owner = _owner(copy)
                if copy.name == key or owner in (None, self.description) or not self._has(owner):
                    os.replace(copy, temporary_beside(copy))
        _clear(self.root)
        check_room(self.root, 2 * num_bytes, num_files=10)

    def _has(self, description: str) -> bool:
        return (self.root.parent / description).is_file()

    def _write(self, copy: Path, contents: Contents) -> None:
        new = temporary_beside(copy)
        new.mkdir()
        for name, array in contents.arrays.items():
            np.save(new / f"{name}.npy", array, allow_pickle=False)
        (new / _TEXTS).write_text(json.dumps(contents.texts), encoding="utf-8")
        record = {"description": self.description, "sha256": _sha256(new)}
        (new / _RECORD).write_text(json.dumps(record), encoding="utf-8")
        for name, text in _TAGS.items():
            (self.root / name).write_text(text, encoding="utf-8")
        os.replace(new, copy)


def _read(copy: Path) -> Contents | None:
    with (copy / _VALUES).open("rb") as values, (copy / _LABELS).open("rb") as labels:
        hold(values, copy / _VALUES)
        record = json.loads((copy / _RECORD).read_text(encoding="utf-8"))
        if record["sha256"] != _sha256(copy):
            return None
        mapped = {"values": _mapped(values), "labels": _mapped(labels)}
    others = [path for path in copy.glob("*.npy") if path.stem not in mapped]
    arrays = {path.stem: np.load(path, allow_pickle=False) for path in others}
    return Contents(mapped | arrays, json.loads((copy / _TEXTS).read_text(encoding="utf-8")))


def _mapped(file: IO[bytes]) -> np.ndarray:
    """The array in a file, which is not read before it is asked for."""
    if npy.read_magic(file) == (1, 0):
        shape, is_fortran, dtype = npy.read_array_header_1_0(file)
    else:
        shape, is_fortran, dtype = npy.read_array_header_2_0(file)
    order: Literal["F", "C"] = "F" if is_fortran else "C"
    return np.asarray(np.memmap(file, dtype, "r", file.tell(), shape, order))


def _sha256(copy: Path) -> dict[str, str]:
    """Of all files but the record."""
    paths = sorted(path for path in copy.iterdir() if path.name != _RECORD)
    return dict(zip([path.name for path in paths], digests(paths), strict=True))


def _owner(copy: Path) -> str | None:
    """The description that a copy is for; None where that cannot be read."""
    with suppress(OSError, ValueError, KeyError):
        return str(json.loads((copy / _RECORD).read_text(encoding="utf-8"))["description"])
    return None


def _clear(root: Path) -> None:
    """Remove what is incomplete or of no use, from here or from a process that was killed."""
    for path in root.iterdir():
        if is_temporary(path):
            shutil.rmtree(path, ignore_errors=True)
