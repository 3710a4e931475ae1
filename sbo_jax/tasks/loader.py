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
from typing import Any, TypeAlias

import numpy as np

from ._types import Batch, DataError, Source
from .sources import buckets
from .sources.sequences import NO_CLASS, SequenceSource
from .sources.streams import StreamedBatches, TokenSource

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
# Of a pass and a block of it, the indices.
_Order: TypeAlias = Callable[[int, int], np.ndarray]


def training_batches(
    source: Source, batch_size: int, *, seed: int, start: int = 0, share: Share = _ALL
) -> Iterator[Batch]:
    """Endless shuffled batches from position `start` on; each pass is reshuffled.

    A pass is `len(source) // batch_size` full batches; which samples are left over differs from
    pass to pass. Sequences of unequal lengths meet others of their bucket, in batches that come in
    random order; a batch where one bucket ends and the next begins is padded as the latter.
    Windows of a `TokenSource` keep their order, see `StreamedBatches`. A thread reads one batch
    ahead.

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
    order = functools.lru_cache(maxsize=2)(functools.partial(_order, source, batch_size, seed))
    return _read_ahead(functools.partial(_shuffled_batch, source, batch_size, rows, order), start)


def evaluation_batches(source: Source, batch_size: int, share: Share = _ALL) -> Iterator[Batch]:
    """Each sample once, in batches of one size; only this process's share of each.

    The last batch is filled up with copies of the last sample, of weight 0. The samples of a
    `SequenceSource` come bucket by bucket, others in order, and the windows of a `TokenSource` as
    in `StreamedBatches`.
    """
    _check_batch_size(batch_size)
    rows = share.rows(batch_size)
    if isinstance(source, TokenSource):
        streamed = StreamedBatches(source, batch_size, rows, fill_up=True)
        return map(streamed.batch, range(streamed.pass_length))
    return _one_pass(source, batch_size, rows)


def _shuffled_batch(
    source: Source, batch_size: int, rows: slice, order: _Order, position: int
) -> Batch:
    """These rows of the batch at a position of the endless stream."""
    pass_number, batch = divmod(position, len(source) // batch_size)
    block, first = divmod(batch * batch_size, _block_size(batch_size))
    indices = order(pass_number, block)[first : first + batch_size]
    return _batch(source, indices, rows)


def _order(source: Source, batch_size: int, seed: int, pass_number: int, block: int) -> np.ndarray:
    """The indices of one block in the order of one pass."""
    first = block * _block_size(batch_size)
    rng = np.random.default_rng((seed, pass_number, block))
    order = first + rng.permutation(min(_block_size(batch_size), len(source) - first))
    if not isinstance(source, SequenceSource) or len(source.buckets) == 1:
        return order
    full = order[: len(order) // batch_size * batch_size]
    batches = full[_by_length(source, full)].reshape(-1, batch_size)
    return rng.permutation(batches).reshape(-1)


def _block_size(batch_size: int) -> int:
    return batch_size * max(1, _BLOCK // batch_size)


def _by_length(source: SequenceSource, indices: np.ndarray) -> np.ndarray:
    """The order that brings sequences of one bucket together, and changes nothing else."""
    own = buckets.bucket_of(source.inputs.lengths[indices], source.buckets)
    return np.argsort(own, kind="stable")


def _batch(source: Source, indices: np.ndarray, rows: slice) -> Batch:
    """These rows of the batch of these samples, which all processes pad to one length."""
    if isinstance(source, SequenceSource):
        return source.batch(indices[rows], source.num_steps(indices))
    inputs, targets = source.fetch(indices[rows])
    if not _are_of_steps(targets):
        return Batch(inputs, targets, np.ones(len(indices[rows]), np.float32))
    has_class = targets != NO_CLASS
    return Batch(inputs, np.where(has_class, targets, 0), has_class.astype(np.float32))


def _are_of_steps(targets: Any) -> bool:
    """Whether they are classes [B, T], and not of samples: classes [B], numbers [B, k], pairs."""
    is_array = isinstance(targets, np.ndarray)
    return is_array and targets.ndim == 2 and np.issubdtype(targets.dtype, np.integer)


def _read_ahead(batch_at: Callable[[int], Batch], start: int) -> Iterator[Batch]:
    """The batches from `start` on; each is read while the caller works on the one before it."""
    with ThreadPoolExecutor(1, "batches") as reader:
        ahead = reader.submit(batch_at, start)
        for position in itertools.count(start + 1):
            batch = ahead.result()
            ahead = reader.submit(batch_at, position)
            yield batch


def _one_pass(source: Source, batch_size: int, rows: slice) -> Iterator[Batch]:
    order = evaluation_order(source)
    for first in range(0, len(order), batch_size):
        positions = np.arange(first, first + batch_size)
        batch = _batch(source, order[np.minimum(positions, len(order) - 1)], rows)
        is_sample = (positions[rows] < len(order)).astype(np.float32)
        weights = batch.weights * is_sample.reshape(-1, *[1] * (batch.weights.ndim - 1))
        yield batch._replace(weights=weights)


def class_counts(source: Source, num_classes: int) -> np.ndarray:
    """[K]: the samples of each class, or the steps where every step has one."""
    total = np.zeros(num_classes, np.int64)
    for batch in evaluation_batches(source, 256):
        targets = np.asarray(batch.targets)[np.asarray(batch.weights) > 0]
        total += np.bincount(targets, minlength=num_classes)
    return total


def evaluation_order(source: Source) -> np.ndarray:
    """The indices of all samples in the order in which `evaluation_batches` has them.

    Not of texts, whose windows alternate.
    """
    order = np.arange(len(source))
    return order[_by_length(source, order)] if isinstance(source, SequenceSource) else order


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise DataError(f"expected batch_size >= 1, got {batch_size}; try 64")
