"""CIFAR-10's binary version: one archive of five training batches and a test batch.

A record is a label and 32 x 32 pixels, all red ones first, a byte each. The version of Python
pickles is not read: unpickling runs code. Checks are of the content, not of the archive, whose
bytes gzip's own checksum guards.
"""

import gzip
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._types import DataError
from ..faults import reading
from .files import Columns, find_files

FOLDER = "cifar10"
ARCHIVE = "cifar-10-binary.tar.gz"
URLS: Mapping[str, str] = {ARCHIVE: f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"}
ROOT = "cifar-10-batches-bin"
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST = ("test_batch.bin",)
_RECORD = 1 + 3 * 32 * 32


@dataclass(frozen=True)
class ExpectedCifar10:
    """Records of every file, and of each class in training and in test."""

    file_size: int
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]


ORIGINAL = ExpectedCifar10(10_000, (5000,) * 10, (1000,) * 10)


def find(raw_dir: Path) -> dict[str, Path]:
    """The archive in `raw_dir/cifar10`; it is not opened."""
    what = "the original CIFAR-10 archive (the binary version)"
    return find_files(raw_dir / FOLDER, {ARCHIVE: ARCHIVE}, what)


def read(paths: Mapping[str, Path], expected: ExpectedCifar10) -> dict[str, Columns]:
    """Columns "image" [N, 32, 32, 3] and "label" [N], uint8, of the splits "train" and "test"."""
    path = paths[ARCHIVE]
    unreadable = f"expected a complete tar.gz archive at {path}, found one that cannot be read"
    with reading(unreadable, "try fetching it again"):
        # decompressed to its end: only there is gzip's checksum
        content = gzip.decompress(path.read_bytes())
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            return {
                "train": _split(path, archive, _TRAIN, expected.file_size, expected.train_counts),
                "test": _split(path, archive, _TEST, expected.file_size, expected.test_counts),
            }


def _split(
    path: Path,
    archive: tarfile.TarFile,
    files: tuple[str, ...],
    size: int,
    counts: tuple[int, ...],
) -> Columns:
    records = np.concatenate([_records(path, archive, file, size) for file in files])
    labels = records[:, 0]
    found = tuple(np.bincount(labels, minlength=len(counts)).tolist())
    if found != counts:
        raise DataError(
            f"expected label counts {counts} in {', '.join(files)} of {path}, found {found}; "
            "try the original archive"
        )
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return {"image": np.ascontiguousarray(images), "label": labels}


def _records(path: Path, archive: tarfile.TarFile, file: str, size: int) -> np.ndarray:
    """[size, 3073] uint8 of one file of the archive."""
    try:
        member = archive.extractfile(f"{ROOT}/{file}")
    except KeyError:
        member = None
    content = b"" if member is None else member.read()
    if len(content) != size * _RECORD:
        raise DataError(
            f"expected {size * _RECORD} bytes in {ROOT}/{file} of {path}, found {len(content)}; "
            "try the original archive, cifar-10-binary.tar.gz"
        )
    return np.frombuffer(content, np.uint8).reshape(size, _RECORD)
