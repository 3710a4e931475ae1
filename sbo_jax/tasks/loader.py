"""From a source to batches: an endless shuffled stream, and one ordered pass.

The batch at a position is a function of (source, batch size, seed, position): the stream is a
random-access sequence of whole batches, read through grain. What has to be remembered to resume is
one integer, and grain's own index shuffle, 8-20 us a sample, gives way to one permutation a pass.
"""

import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from absl import flags

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

    Windows of a `TokenSource` keep their order, see `StreamedBatches`.

    A pass is `len(source) // batch_size` full batches: the few samples that do not fill one
    are other ones each pass. The iterator is grain's: its state is ``{"next_index": position}``,
    and a thread fetches one batch ahead.

    Args:
        source: where the samples come from.
        batch_size: samples a batch, 1 <= batch_size <= len(source).
        seed: decides the order of every pass, seed >= 0.
        start: the position, in batches already drawn.
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
    if isinstance(source, TokenSource):
        return _read(StreamedBatches(source, batch_size, share.rows(batch_size)), start)
    return _read(ShuffledBatches(source, batch_size, seed, share), start)


def evaluation_batches(source: Source, batch_size: int, share: Share = _ALL) -> Iterator[Batch]:
    """Each sample once, in order, in batches of one shape; of each only this process's share.

    The last batch is filled up with copies of the last sample, of weight 0. Windows of a
    `TokenSource` come as `StreamedBatches` has them.
    """
    _check_batch_size(batch_size)
    rows = share.rows(batch_size)
    if isinstance(source, TokenSource):
        streamed = StreamedBatches(source, batch_size, rows, whole=True)
        return (streamed[position] for position in range(streamed.pass_length))
    return _one_pass(source, batch_size, rows)


@dataclass(frozen=True)
class ShuffledBatches:
    """The endless stream as a sequence: the batch at every position, in any order asked for."""

    source: Source
    batch_size: int
    seed: int
    share: Share = _ALL

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, position: int) -> Batch:
        size = len(self.source)
        pass_number, batch = divmod(position, size // self.batch_size)
        block_size = self.batch_size * max(1, _BLOCK // self.batch_size)
        block, first = divmod(batch * self.batch_size, block_size)
        order = _order(size, block_size, self.seed, pass_number, block)
        own = order[first : first + self.batch_size][self.share.rows(self.batch_size)]
        inputs, targets = self.source.fetch(own)
        return Batch(inputs, targets, np.ones(len(own), np.float32))


def _read(batches: ShuffledBatches | StreamedBatches, start: int) -> Iterator[Batch]:
    import grain  # a second to import, and evaluation does without

    # grain reads absl flags, which a program with another parser never parses
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    dataset = grain.MapDataset.source(batches)
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
    iterator = iter(dataset.to_iter_dataset(options))
    iterator.set_state({"next_index": start})
    return iterator


@functools.lru_cache(maxsize=2)
def _order(size: int, block_size: int, seed: int, pass_number: int, block: int) -> np.ndarray:
    """The indices of one block in the order of one pass."""
    first = block * block_size
    rng = np.random.default_rng((seed, pass_number, block))
    return first + rng.permutation(min(block_size, size - first))


def _one_pass(source: Source, batch_size: int, rows: slice) -> Iterator[Batch]:
    for first in range(0, len(source), batch_size):
        indices = np.arange(first, first + batch_size)[rows]
        weights = (indices < len(source)).astype(np.float32)
        yield Batch(*source.fetch(np.minimum(indices, len(source) - 1)), weights)


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise DataError(f"expected batch_size >= 1, got {batch_size}; try 64")
