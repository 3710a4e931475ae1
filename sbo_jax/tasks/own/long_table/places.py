"""Rows of several files: the file and the line of each, and of the sequences that begin there."""

from collections.abc import Sequence

import numpy as np

from ...sources.texts import Texts
from .files import TableFile


def place_of(files: Sequence[TableFile], ends: Sequence[int], row: int) -> str:
    """The file and the line of a row of all files; `ends` are how many there are before each."""
    number = min(int(np.searchsorted(ends, row, side="right")), len(files)) - 1
    return files[number].place(row - ends[number])


class Places(Texts):
    """Where the labels of sequences are, for a sentence.

    Attributes:
        ends: 0, and the number of rows up to the end of every file.
        rows: [N], of the sequences.
        names: [N], of the sequences, which are said where there are any.
    """

    def __init__(
        self,
        files: Sequence[TableFile],
        ends: Sequence[int],
        rows: np.ndarray,
        names: Sequence[str] | None = None,
    ):
        self.ends, self.rows, self.names = ends, rows, names
        self._files = files
        super().__init__(len(rows), self._place)

    def _place(self, index: int) -> str:
        place = place_of(self._files, self.ends, int(self.rows[index]))
        return place if self.names is None else f"{place}, sequence {self.names[index]}"
