"""UCI HAR's inertial signals, from the archive or its unpacked folder, checked by content.

Any program may have printed the text files (several archives are in circulation), so the checks are
of their numbers: shapes, label counts, subjects, finite values.
"""

import io
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._types import DataError
from ..faults import reading
from .files import Columns

FOLDER = "uci_har"
ARCHIVE = "UCI HAR Dataset.zip"
URLS: Mapping[str, str] = {
    ARCHIVE: "https://archive.ics.uci.edu/ml/machine-learning-databases/00240/"
    "UCI%20HAR%20Dataset.zip"
}
ROOT = "UCI HAR Dataset"
LENGTH = 128
SIGNALS = tuple(
    f"{kind}_{axis}" for kind in ("body_acc", "body_gyro", "total_acc") for axis in "xyz"
)
ACTIVITIES = ("walking", "upstairs", "downstairs", "sitting", "standing", "laying")


@dataclass(frozen=True)
class ExpectedHar:
    """Windows of each activity (1..6) and the number of subjects, of train and of test."""

    train_counts: tuple[int, ...]
    train_subjects: int
    test_counts: tuple[int, ...]
    test_subjects: int


ORIGINAL = ExpectedHar(
    train_counts=(1226, 1073, 986, 1286, 1374, 1407),
    train_subjects=21,
    test_counts=(496, 471, 420, 491, 532, 537),
    test_subjects=9,
)


def find(raw_dir: Path) -> dict[str, Path]:
    """The unpacked folder in `raw_dir/uci_har`, or else the archive; neither is opened."""
    folder = raw_dir / FOLDER
    for path in (folder / ROOT, folder / ARCHIVE):
        if path.exists():
            return {ARCHIVE: path}
    raise DataError(
        f"expected '{ARCHIVE}' or the unpacked folder '{ROOT}' in {folder}, found neither; "
        "put one there, or leave raw_dir out to download it"
    )


def read(paths: Mapping[str, Path], expected: ExpectedHar) -> dict[str, Columns]:
    """Columns of the splits "train" and "test".

    They are "signals" [N, 128, 9] float32, "activity" [N] (0 to 5) and "subject" [N].
    """
    path = paths[ARCHIVE]
    unreadable = f"expected a complete zip archive at {path}, found one that cannot be read"
    with reading(unreadable, "try fetching it again"):
        root = path if path.is_dir() else zipfile.Path(path, ROOT + "/")
        return {
            "train": _split(root, "train", expected.train_counts, expected.train_subjects),
            "test": _split(root, "test", expected.test_counts, expected.test_subjects),
        }


def _split(
    root: Path | zipfile.Path, split: str, counts: tuple[int, ...], subjects: int
) -> Columns:
    labels = _column(root, f"{split}/y_{split}.txt", sum(counts))
    who = _column(root, f"{split}/subject_{split}.txt", sum(counts))
    found = tuple(int((labels == k).sum()) for k in range(1, len(counts) + 1))
    if found != counts or len(np.unique(who)) != subjects:
        raise DataError(
            f"expected windows {counts} of activities 1..{len(counts)} and {subjects} subjects in "
            f"{root / split}, found {found} and {len(np.unique(who))}; try the original files"
        )
    names = [f"{split}/Inertial Signals/{signal}_{split}.txt" for signal in SIGNALS]
    signals = np.stack([_table(root, name, (sum(counts), LENGTH)) for name in names], axis=-1)
    return {"signals": signals, "activity": labels - 1, "subject": who}


def _column(root: Path | zipfile.Path, name: str, size: int) -> np.ndarray:
    return _table(root, name, (size, 1))[:, 0].astype(np.int32)


def _table(root: Path | zipfile.Path, name: str, shape: tuple[int, int]) -> np.ndarray:
    """The numbers of one text file as float32 of the given shape."""
    file = root / name
    if not file.is_file():
        raise DataError(f"expected the file '{name}' in {root}, found none; try the original data")
    content = file.read_bytes()
    with (
        reading(f"expected a table of numbers in {file}, found otherwise", "try the original file"),
        warnings.catch_warnings(category=UserWarning, action="ignore"),  # an empty file
    ):
        table = np.loadtxt(io.BytesIO(content), dtype=np.float32, ndmin=2)
    if table.shape != shape or not np.isfinite(table).all():
        raise DataError(
            f"expected finite numbers of shape {shape} in {file}, found shape {table.shape} with "
            f"{int((~np.isfinite(table)).sum())} not finite; try the original file"
        )
    return table
