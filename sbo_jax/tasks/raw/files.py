"""What the readers share."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .._types import DataError

Columns = Mapping[str, np.ndarray | Sequence[str]]
"""The features of one split by name; entry i of each belongs to sample i."""


def find_files(folder: Path, files: Mapping[str, str], what: str) -> dict[str, Path]:
    """The paths of these files of a folder, under the same keys; DataError for a missing one."""
    paths = {key: folder / file for key, file in files.items()}
    for path in paths.values():
        if not path.is_file():
            raise DataError(
                f"expected {what} {path}, found no such file; put it there, or leave raw_dir out "
                "to download it"
            )
    return paths
