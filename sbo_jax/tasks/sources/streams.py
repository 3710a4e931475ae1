"""Long sequences in windows: every row of a batch continues its row in the batch before.

With B rows and n = windows // B, row s of the batches in a pass reads the windows s n, s n + 1, ...
The model's state at the end of a window is its start in the next (truncated back-propagation,
Williams & Peng 1990), so nothing is shuffled.
"""

from dataclasses import dataclass

import numpy as np

from .._types import Batch, DataError


@dataclass(frozen=True, eq=False)
class TokenSource:
    """Window i: tokens [i T, i T + T), and as targets the token after each of them.

    The last window may be shorter; it is filled up with token 0, to which `weights` gives 0.

    Attributes:
        tokens: [N] int32, N >= 2.
        length: T.
    """

    tokens: np.ndarray
    length: int

    def __len__(self) -> int:
        return -(-(len(self.tokens) - 1) // self.length)

    def fetch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets [B, T] int32."""
        positions = self._positions(indices)
        last = len(self.tokens) - 1
        here, next_ = (self.tokens[np.minimum(positions + ahead, last)] for ahead in (0, 1))
        inside = positions < last
        return np.where(inside, here, 0), np.where(inside, next_, 0)

    def weights(self, indices: np.ndarray) -> np.ndarray:
        """[B, T] float32: 1 for predictions that count, 0 for padding."""
        return (self._positions(indices) < len(self.tokens) - 1).astype(np.float32)

    def counts(self, vocabulary: int) -> np.ndarray:
        """[V]: the number of occurrences of each of the tokens 0 to V - 1."""
        return np.bincount(self.tokens, minlength=vocabulary)

    def _positions(self, indices: np.ndarray) -> np.ndarray:
        return np.asarray(indices)[:, None] * self.length + np.arange(self.length)


def full_windows(tokens: np.ndarray, length: int) -> TokenSource:
    """A source without padding: tokens at the end that fill no window are left out.

    Raises:
      DataError: too few tokens for one window.
    """
    count = (len(tokens) - 1) // length
    if count < 1:
        raise DataError(
            f"expected more tokens than the {length} of a window, got {len(tokens)}; try a "
            f"shorter length (--length)"
        )
    return TokenSource(tokens[: count * length + 1], length)


@dataclass(frozen=True)
class StreamedBatches:
    """The batch at every position, endlessly; each pass starts at the beginning of the text.

    Windows at the end that do not fill a batch are left out, or with `fill_up` a last batch has
    them and windows of weight 0.

    Attributes:
        rows: the part of every batch that is fetched.
    """

    source: TokenSource
    batch_size: int
    rows: slice
    fill_up: bool = False

    @property
    def pass_length(self) -> int:
        """Batches per pass."""
        windows = len(self.source) + (self.batch_size - 1 if self.fill_up else 0)
        return windows // self.batch_size

    def batch(self, position: int) -> Batch:
        """These rows of the batch at a position, which is >= 0."""
        steps = self.pass_length
        indices = (np.arange(self.batch_size) * steps + position % steps)[self.rows]
        return Batch(*self.source.fetch(indices), self.source.weights(indices))
