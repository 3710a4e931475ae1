"""Lengths that sequences are padded to: few, so that few shapes are compiled."""

from collections.abc import Sequence

import numpy as np

# At most so many shapes, and fewer where padding is below this part of all steps.
MOST = 12
_LITTLE_PADDING = 0.13
# More different lengths than these are rounded up before a choice is made among them.
_CANDIDATES = 512


def choose(lengths: np.ndarray, most: int = MOST) -> tuple[int, ...]:
    """The fewest lengths to pad to that pad little, or else the best `most`; in rising order.

    The best k of them, by dynamic programming: what k lengths waste up to length n is what k - 1
    waste up to a shorter one, and what the steps between add.
    """
    ends, counts, sums = _candidates(lengths)
    total = np.concatenate([[0], np.cumsum(counts)]), np.concatenate([[0], np.cumsum(sums)])
    number, steps = (each[None, 1:] - each[:-1, None] for each in total)
    # waste[i, j] of padding the candidates i to j to the length of j
    waste = np.where(np.tri(len(ends), k=-1, dtype=bool), np.inf, number * ends - steps)
    best, choices = waste[0], [np.zeros(len(ends), int)]
    while len(choices) < min(most, len(ends)) and _part(best[-1], sums) > _LITTLE_PADDING:
        through = best[:-1, None] + waste[1:]
        choices.append(np.argmin(through, axis=0) + 1)
        best = through.min(axis=0)
    return tuple(ends[_chosen(choices)].tolist())


def bucket_of(lengths: np.ndarray, buckets: Sequence[int]) -> np.ndarray:
    """The number of the shortest bucket that holds each of these lengths."""
    return np.searchsorted(buckets, lengths)


def _candidates(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lengths to choose from, the sequences that end at each, and their steps."""
    longest = lengths.max()
    ends = np.unique(lengths)
    if len(ends) > _CANDIDATES:
        ends = np.unique(np.ceil(np.geomspace(ends[0], longest, _CANDIDATES)).astype(np.int64))
        ends[-1] = longest
    own = np.searchsorted(ends, lengths)
    counts = np.bincount(own, minlength=len(ends))
    return ends, counts, np.bincount(own, lengths, len(ends))


def _part(waste: float, sums: np.ndarray) -> float:
    return float(waste / (waste + sums.sum()))


def _chosen(choices: Sequence[np.ndarray]) -> list[int]:
    """Where the buckets end, found backwards from the last one."""
    chosen = [len(choices[0]) - 1]
    for first in reversed(choices[1:]):
        chosen.append(int(first[chosen[-1]]) - 1)
    return chosen[::-1]
