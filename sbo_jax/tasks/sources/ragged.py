"""Sequences of unequal lengths, stored one after another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# Steps that are looked at together: 2 MB of one feature in float64.
_BLOCK = 2**18


@dataclass(frozen=True, eq=False)
class Ragged:
    """N sequences; sequence i is ``values[starts[i] : starts[i] + lengths[i]]``.

    A selection shares the values of the whole, which may be a file that is mapped into memory.

    Attributes:
        values: [S, ...], all steps of all sequences.
        starts: [N] int64.
        lengths: [N] int64.
    """

    values: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, sequences: Sequence[np.ndarray]) -> "Ragged":
        """Of N arrays [T_i, ...]."""
        return cls.stored(np.concatenate(sequences), [len(each) for each in sequences])

    @classmethod
    def of_equal(cls, array: np.ndarray) -> "Ragged":
        """The sequences [N, T, ...], which are not copied where they are contiguous."""
        count, num_steps = array.shape[:2]
        values = array.reshape(count * num_steps, *array.shape[2:])
        return cls.stored(values, np.full(count, num_steps))

    @classmethod
    def stored(cls, values: np.ndarray, lengths: Sequence[int] | np.ndarray) -> "Ragged":
        """Sequences of these lengths that follow each other without gaps."""
        ends = np.cumsum(lengths, dtype=np.int64)
        return cls(values, ends - np.asarray(lengths), np.asarray(lengths, np.int64))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> np.ndarray:
        """Sequence `index`, [T_i, ...]."""
        start = self.starts[index]
        return self.values[start : start + self.lengths[index]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.__getitem__, range(len(self)))

    def take(self, rows: np.ndarray) -> "Ragged":
        """The sequences at these indices."""
        return Ragged(self.values, self.starts[rows], self.lengths[rows])

    def equals(self, other: "Ragged") -> bool:
        """Whether both hold the same sequences of numbers in the same order; NaN equals NaN."""
        return np.array_equal(self.lengths, other.lengths) and all(
            np.array_equal(one, another, equal_nan=True)
            for one, another in zip(self, other, strict=True)
        )

    def later(self, steps: int) -> "Ragged":
        """Step t + `steps` in the place of step t, which the last ones of a sequence lack."""
        skipped = np.minimum(steps, self.lengths)
        return Ragged(self.values, self.starts + skipped, self.lengths - skipped)

    def padded(self, num_steps: int) -> np.ndarray:
        """[N, num_steps, ...], zeros after the end of every sequence."""
        array = np.zeros((len(self), num_steps, *self.values.shape[1:]), self.values.dtype)
        for row, sequence in zip(array, self, strict=True):
            row[: len(sequence)] = sequence
        return array

    def pieces(self) -> Iterator["Ragged"]:
        """Some of the sequences at a time, in order, each piece with steps of its own."""
        ends = np.cumsum(self.lengths)
        cuts = np.searchsorted(ends, np.arange(_BLOCK, ends[-1] + _BLOCK, _BLOCK))
        for rows in np.split(np.arange(len(ends)), np.unique(cuts + 1)):
            if rows.size:
                yield Ragged.stored(_joined(self.take(rows)), self.lengths[rows])

    def blocks(self) -> "Blocks":
        """All steps, some sequences at a time: [n, ...] each, as often as they are asked for."""
        return Blocks(self)


@dataclass(frozen=True, eq=False)
class Blocks:
    """The steps of sequences in pieces of about `_BLOCK` steps."""

    sequences: Ragged

    def __iter__(self) -> Iterator[np.ndarray]:
        return (piece.values for piece in self.sequences.pieces() if len(piece.values))


def _joined(sequences: Ragged) -> np.ndarray:
    """All steps, which are not copied where they follow each other."""
    starts, ends = sequences.starts, sequences.starts + sequences.lengths
    if (starts[1:] == ends[:-1]).all():
        return sequences.values[starts[0] : ends[-1]]
    return np.concatenate(list(sequences))
