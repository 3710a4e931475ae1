"""What a model answers to every sample of a source."""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from ..tasks._types import Batch, Source
from ..tasks.loader import evaluation_batches, evaluation_order
from .fit import BetweenBatches
from .method import GraphDef, TrainState
from .step import read_evaluated


class Predicted(NamedTuple):
    """Outputs [N, k] and the targets [N, ...] that they belong to, in one order of the samples.

    Where every step has a target, N counts the steps that have one.

    Attributes:
        samples: [N], the index in the source.
        steps: [N], the step of the sample; None where a sample has one target.
    """

    outputs: np.ndarray
    targets: np.ndarray
    samples: np.ndarray
    steps: np.ndarray | None = None


def predictions(
    graphdef: GraphDef,
    state: TrainState,
    source: Source,
    batch_size: int,
    between_batches: BetweenBatches = lambda: None,
) -> Predicted:
    """Outputs for all samples of a source, dropout off, in batches of this size.

    Of several processes, each computes all of them.
    """
    parts = []
    order = iter(evaluation_order(source))
    for batch, output in answered(graphdef, state, source, batch_size):
        between_batches()
        counts = np.asarray(batch.weights) > 0
        samples = np.fromiter(itertools.islice(order, len(counts)), np.int64)
        rows, *steps = np.nonzero(counts)
        parts.append((output[counts], np.asarray(batch.targets)[counts], samples[rows], *steps))
    return Predicted(*map(np.concatenate, zip(*parts, strict=True)))


def answered(
    graphdef: GraphDef, state: TrainState, source: Source, batch_size: int
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Batches of a source in the order of `evaluation_batches`, each with the outputs for it."""
    for batch in evaluation_batches(source, batch_size):
        yield batch, np.asarray(_outputs(graphdef, state, batch))


@partial(jax.jit, static_argnums=0)
def _outputs(graphdef: GraphDef, state: TrainState, batch: Batch) -> jax.Array:
    return read_evaluated(graphdef, state._replace(carry=None), batch)[1]
