"""MNIST's four IDX files, gzipped, checked by their decompressed content.

The content is checked, not the archive: the same content can be compressed in many ways, and a
recompressed file is as good as the original.
"""

import gzip
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._types import DataError
from ..faults import reading
from .files import Columns, find_files

FOLDER = "mnist"
_UINT8 = 0x08


@dataclass(frozen=True)
class ExpectedIdx:
    """One file: its name, the shape of its array, the md5 of its decompressed bytes."""

    file: str
    shape: tuple[int, ...]
    md5: str


@dataclass(frozen=True)
class ExpectedSplit:
    """Images [N, 28, 28], labels [N], and how many labels there are of 0, 1, ..., 9."""

    images: ExpectedIdx
    labels: ExpectedIdx
    label_counts: tuple[int, ...]


@dataclass(frozen=True)
class ExpectedMnist:
    """The contents that the four files must have."""

    train: ExpectedSplit
    test: ExpectedSplit

    def files(self) -> tuple[str, ...]:
        """The four file names."""
        return tuple(
            idx.file for split in (self.train, self.test) for idx in (split.images, split.labels)
        )


ORIGINAL = ExpectedMnist(
    train=ExpectedSplit(
        ExpectedIdx(
            "train-images-idx3-ubyte.gz", (60000, 28, 28), "6bbc9ace898e44ae57da46a324031adb"
        ),
        ExpectedIdx("train-labels-idx1-ubyte.gz", (60000,), "a25bea736e30d166cdddb491f175f624"),
        (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    ),
    test=ExpectedSplit(
        ExpectedIdx(
            "t10k-images-idx3-ubyte.gz", (10000, 28, 28), "2646ac647ad5339dbf082846283269ea"
        ),
        ExpectedIdx("t10k-labels-idx1-ubyte.gz", (10000,), "27ae3e4e09519cfbb04c329615203637"),
        (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    ),
)


FILES = {file: file for file in ORIGINAL.files()}
URLS: Mapping[str, str] = {
    file: f"https://storage.googleapis.com/cvdf-datasets/mnist/{file}" for file in FILES
}


def find(raw_dir: Path) -> dict[str, Path]:
    """The four files of `raw_dir/mnist` by name; none is opened."""
    return find_files(raw_dir / FOLDER, FILES, "the original MNIST file")


def read(paths: Mapping[str, Path], expected: ExpectedMnist) -> dict[str, Columns]:
    """Columns "image" [N, 28, 28] and "label" [N], uint8, of the splits "train" and "test"."""
    return {
        "train": _read_split(paths, expected.train),
        "test": _read_split(paths, expected.test),
    }


def _read_split(paths: Mapping[str, Path], expected: ExpectedSplit) -> Columns:
    images = _read_idx(paths[expected.images.file], expected.images)
    labels = _read_idx(paths[expected.labels.file], expected.labels)
    counts = tuple(np.bincount(labels, minlength=len(expected.label_counts)).tolist())
    if counts != expected.label_counts:
        raise DataError(
            f"expected label counts {expected.label_counts} in {paths[expected.labels.file]}, "
            f"found {counts}; try the original file"
        )
    return {"image": images, "label": labels}


def _read_idx(path: Path, expected: ExpectedIdx) -> np.ndarray:
    content = _decompress(path)
    header = 4 + 4 * len(expected.shape)
    found = _shape(content)
    if found != expected.shape or len(content) != header + math.prod(expected.shape):
        raise DataError(
            f"expected an IDX array of bytes of shape {expected.shape} in {path}, "
            f"found shape {found} in {len(content)} bytes; try the original file"
        )
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 != expected.md5:
        raise DataError(
            f"expected content of md5 {expected.md5} in {path}, found {md5}; try the original file"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(expected.shape)


def _decompress(path: Path) -> bytes:
    expected = f"expected a complete gzip file at {path}, found one that cannot be read"
    with reading(expected, "try fetching it again"):
        return gzip.decompress(path.read_bytes())


def _shape(content: bytes) -> tuple[int, ...] | None:
    """The shape an IDX header states: 0, 0, type, rank, then big-endian sizes."""
    if len(content) < 4 or content[:3] != bytes((0, 0, _UINT8)):
        return None
    sizes = content[4 : 4 + 4 * content[3]]
    return tuple(np.frombuffer(sizes[: len(sizes) // 4 * 4], ">u4").tolist())
