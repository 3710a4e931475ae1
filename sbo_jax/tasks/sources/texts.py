"""Many texts that follow from few numbers, such as names of samples, made when they are asked for.

A data set may have a hundred thousand sequences, and of their names and places few are ever read.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


class Texts(Sequence[str]):
    """Text i is ``text(i)``, for i from 0 below `count`."""

    def __init__(self, count: int, text: Callable[[int], str]):
        self._count, self._text = count, text

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return self._text(int(index) % self._count)


def numbered(count: int) -> Texts:
    """What names samples that have nothing but their number, counted from 0."""
    return Texts(count, str)


def taken(texts: Sequence[str], rows: np.ndarray) -> Texts:
    """The texts of these rows, in this order."""
    return Texts(len(rows), lambda index: texts[rows[index]])
