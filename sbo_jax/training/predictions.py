"""What a model answers to every sample of a source."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from ..tasks._types import Batch, Source
from ..tasks.loader import evaluation_batches
from .fit import BetweenBatches
from .method import GraphDef, TrainState
from .step import merge, read


class Predicted(NamedTuple):
    """Outputs [N, k] and the targets [N, ...] that they belong to, in one order of the samples.

    Where every step has a target, N counts the steps that have one.
    """

    outputs: np.ndarray
    targets: np.ndarray


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
    outputs, targets = [], []
    for batch, output in answered(graphdef, state, source, batch_size):
        between_batches()
        counts = np.asarray(batch.weights) > 0
        outputs.append(output[counts])
        targets.append(np.asarray(batch.targets)[counts])
    return Predicted(np.concatenate(outputs), np.concatenate(targets))


def answered(
    graphdef: GraphDef, state: TrainState, source: Source, batch_size: int
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Batches of a source in the order of `evaluation_batches`, each with the outputs for it."""
    for batch in evaluation_batches(source, batch_size):
        yield batch, np.asarray(_outputs(graphdef, state, batch))


@partial(jax.jit, static_argnums=0)
def _outputs(graphdef: GraphDef, state: TrainState, batch: Batch) -> jax.Array:
    model = merge(graphdef, state)
    model.eval()
    return read(model, batch, None)[1]
