"""Arrays of a length that is known when the last row has been read."""

import numpy as np

# An allocation above 32 MB is given back to the system as soon as it is let go.
_BYTES = 2**26


class Pile:
    """Pieces [n, ...] of one type, put one below another with hardly a second copy in memory."""

    def __init__(self) -> None:
        self._full: list[np.ndarray] = []
        self._last: np.ndarray | None = None
        self._used = 0

    def __len__(self) -> int:
        return sum(map(len, self._full)) + self._used

    def add(self, piece: np.ndarray) -> None:
        """Copy this piece below the others."""
        while len(piece):
            if self._last is None:
                rows = max(len(piece), _BYTES // max(1, piece[0].nbytes))
                self._last = np.empty((rows, *piece.shape[1:]), piece.dtype)
            kind = np.result_type(self._last, piece)  # floats after integers
            self._last = self._last.astype(kind, copy=False)
            room = self._last[self._used :]
            room[: len(piece)] = piece[: len(room)]
            self._used += min(len(room), len(piece))
            piece = piece[len(room) :]
            if self._used == len(self._last):
                self._full.append(self._last)
                self._last, self._used = None, 0

    def whole(self) -> np.ndarray:
        """All pieces; the pile is empty thereafter."""
        pieces = self._full if self._last is None else [*self._full, self._last[: self._used]]
        whole = np.empty((len(self), *pieces[0].shape[1:]), np.result_type(*pieces))
        self._full, self._last, self._used = [], None, 0
        start = 0
        pieces.reverse()
        while pieces:  # each is let go once it is copied
            piece = pieces.pop()
            whole[start : start + len(piece)] = piece
            start += len(piece)
        return whole


def put_in_order(array: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    """``array[rows]`` in the place of the array, column by column; as it is without rows."""
    if rows is not None:
        columns = array[:, None] if array.ndim == 1 else array
        for number in range(columns.shape[1]):
            columns[:, number] = columns[:, number][rows]
    return array
