"""Long sequences in windows: every row of a batch goes on where it ended in the batch before.

With B rows and n = windows / B, row s reads the windows s n, s n + 1, ... of one pass. What a model
remembers at the end of a window is its start in the next (truncated back-propagation, Williams &
Peng 1990), so that nothing is shuffled.
"""

import sys
from dataclasses import dataclass

import numpy as np

from ._types import Batch, DataError


@dataclass(frozen=True, eq=False)
class TokenSource:
    """Window i: tokens [i T, i T + T), and as targets the token after each of them.

    The last window may be shorter; it is filled up with token 0, and `weights` tells where.

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
        """[B, T] float32: 1 for a prediction to be judged, 0 for padding."""
        return (self._positions(indices) < len(self.tokens) - 1).astype(np.float32)

    def counts(self, vocabulary: int) -> np.ndarray:
        """How often each of the tokens 0 to V - 1 occurs, [V]."""
        return np.bincount(self.tokens, minlength=vocabulary)

    def _positions(self, indices: np.ndarray) -> np.ndarray:
        return np.asarray(indices)[:, None] * self.length + np.arange(self.length)


def full_windows(tokens: np.ndarray, length: int) -> TokenSource:
    """A source without padding: the tokens that fill no window at the end are left out.

    Raises:
      DataError: not one window.
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
    """The batch at every position, endlessly; each pass begins at the beginning.

    Windows that do not fill a batch at the end of a pass are left out, or else with `whole` the
    batch is filled up with windows of weight 0.

    Attributes:
        rows: what is fetched of every batch.
    """

    source: TokenSource
    batch_size: int
    rows: slice
    whole: bool = False

    def __len__(self) -> int:
        return sys.maxsize

    @property
    def pass_length(self) -> int:
        """Batches of one pass."""
        windows = len(self.source) + (self.batch_size - 1 if self.whole else 0)
        return windows // self.batch_size

    def __getitem__(self, position: int) -> Batch:
        steps = self.pass_length
        indices = (np.arange(self.batch_size) * steps + position % steps)[self.rows]
        return Batch(*self.source.fetch(indices), self.source.weights(indices))
