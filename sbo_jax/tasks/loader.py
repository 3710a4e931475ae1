"""From a source to batches: an endless shuffled stream, and one ordered pass.

The batch at a position is a function of (source, batch size, seed, position): a resumed run needs
one integer, and every process reads its share and nothing else. This sampler of our own replaces
grain, which shuffles indices one by one (8-20 us a sample) where this draws one permutation a pass,
and takes half a second to import. What remained of it, a thread that reads one batch ahead, is six
lines here.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ._types import Batch, DataError, Source
from .streams import StreamedBatches, TokenSource

# Indices shuffled together. A longer source is shuffled block by block, so that a
# generated one of 2**30 samples costs no more memory than a block (8 MB).
_BLOCK = 2**20


@dataclass(frozen=True)
class Share:
    """The part of every batch that one of several processes reads: block `index` of `count`."""

    index: int = 0
    count: int = 1

    def rows(self, batch_size: int) -> slice:
        if batch_size % self.count:
            raise DataError(
                f"expected a batch size that {self.count} processes can share, got {batch_size}"
            )
        size = batch_size // self.count
        return slice(self.index * size, (self.index + 1) * size)


_ALL = Share()


def training_batches(
    source: Source, batch_size: int, *, seed: int, start: int = 0, share: Share = _ALL
) -> Iterator[Batch]:
    """Endless shuffled batches from position `start` on; each pass is reshuffled.

    A pass is `len(source) // batch_size` full batches; which samples are left over differs from
    pass to pass. Windows of a `TokenSource` keep their order, see `StreamedBatches`. A thread reads
    one batch ahead.

    Args:
        source: where the samples come from.
        batch_size: samples per batch, 1 <= batch_size <= len(source).
        seed: decides the order of every pass, seed >= 0.
        start: the position: the number of batches already drawn.
        share: what this process reads of every batch; nothing else is fetched.
    """
    _check_batch_size(batch_size)
    if batch_size > len(source):
        raise DataError(
            f"expected batch_size <= {len(source)} (the samples there are), got {batch_size}; "
            "try a smaller batch_size"
        )
    if seed < 0 or start < 0:
        raise DataError(f"expected seed >= 0 and start >= 0, got seed={seed}, start={start}; try 0")
    rows = share.rows(batch_size)
    if isinstance(source, TokenSource):
        return _read_ahead(StreamedBatches(source, batch_size, rows).batch, start)
    return _read_ahead(functools.partial(_shuffled_batch, source, batch_size, seed, rows), start)


def evaluation_batches(source: Source, batch_size: int, share: Share = _ALL) -> Iterator[Batch]:
    """Each sample once, in order, in batches of one shape; only this process's share of each.

    The last batch is filled up with copies of the last sample, of weight 0. The order of a
    `TokenSource` is that of `StreamedBatches`.
    """
    _check_batch_size(batch_size)
    rows = share.rows(batch_size)
    if isinstance(source, TokenSource):
        streamed = StreamedBatches(source, batch_size, rows, fill_up=True)
        return map(streamed.batch, range(streamed.pass_length))
    return _one_pass(source, batch_size, rows)


def _shuffled_batch(
    source: Source, batch_size: int, seed: int, rows: slice, position: int
) -> Batch:
    """These rows of the batch at a position of the endless stream."""
    size = len(source)
    pass_number, batch = divmod(position, size // batch_size)
    block_size = batch_size * max(1, _BLOCK // batch_size)
    block, first = divmod(batch * batch_size, block_size)
    order = _order(size, block_size, seed, pass_number, block)
    own = order[first : first + batch_size][rows]
    return Batch(*source.fetch(own), np.ones(len(own), np.float32))


@functools.lru_cache(maxsize=2)
def _order(size: int, block_size: int, seed: int, pass_number: int, block: int) -> np.ndarray:
    """The indices of one block in the order of one pass."""
    first = block * block_size
    rng = np.random.default_rng((seed, pass_number, block))
    return first + rng.permutation(min(block_size, size - first))


def _read_ahead(batch_at: Callable[[int], Batch], start: int) -> Iterator[Batch]:
    """The batches from `start` on; each is read while the caller works on the one before it."""
    with ThreadPoolExecutor(1, "batches") as reader:
        ahead = reader.submit(batch_at, start)
        for position in itertools.count(start + 1):
            batch = ahead.result()
            ahead = reader.submit(batch_at, position)
            yield batch


def _one_pass(source: Source, batch_size: int, rows: slice) -> Iterator[Batch]:
    for first in range(0, len(source), batch_size):
        indices = np.arange(first, first + batch_size)[rows]
        weights = (indices < len(source)).astype(np.float32)
        yield Batch(*source.fetch(np.minimum(indices, len(source) - 1)), weights)


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise DataError(f"expected batch_size >= 1, got {batch_size}; try 64")
