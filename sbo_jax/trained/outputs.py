"""What a trained model puts out for every sequence of a table, or for every step of each."""

from typing import Any

import numpy as np
from flax import nnx

from ..tasks._types import DataError
from ..tasks.loader import evaluation_order
from ..tasks.own.table import Table
from ..training.method import TrainState
from ..training.predictions import answered
from .reading import Reading

PerStep = list[np.ndarray]


def outputs(
    model: nnx.Module, reading: Reading, table: Table, *, per_step: bool, most_at_once: int
) -> np.ndarray | PerStep:
    """Read-outs in the order of the sequences, [N, k] or, of all their steps, N arrays [T_i, k].

    A step that is not read has the read-out of the one before it; NaN before the first that is.

    Args:
      model: what was trained.
      reading: how its samples are read.
      table: the sequences, as they are.
      per_step: whether every step is read out.
      most_at_once: sequences in a batch, a power of two for fewer.

    Raises:
      DataError: an output that is not finite.
    """
    source, kept = reading.read(table)
    batch_size = min(most_at_once, 1 << (len(source) - 1).bit_length())
    found: list[np.ndarray] = []
    for batch, output in answered(*_split(model), source, batch_size):
        found += [*output[np.asarray(batch.weights) > 0]]
    found = [found[place] for place in np.argsort(evaluation_order(source))]
    if not per_step:
        _check_finite(found)
        return np.stack(found)
    found = [output[: len(steps)] for output, steps in zip(found, kept, strict=True)]
    _check_finite(found)
    lengths = table.inputs.lengths.tolist()
    return [
        _at_every_step(output, steps, length)
        for output, steps, length in zip(found, kept, lengths, strict=True)
    ]


def _split(model: nnx.Module) -> tuple[Any, TrainState]:
    graphdef, *states = nnx.split(model, nnx.Param, ...)
    params, rest = states
    return graphdef, TrainState(params, rest, (), None)


def _check_finite(found: list[np.ndarray]) -> None:
    for number, output in enumerate(found):
        if not np.isfinite(output).all():
            raise DataError(
                f"expected finite outputs of the model, got others for sample {number} (counted "
                "from 0); look for values far beyond those of training"
            )


def _at_every_step(output: np.ndarray, steps: np.ndarray, length: int) -> np.ndarray:
    """Outputs at all steps [length, k], from those of the steps that were read."""
    last = np.searchsorted(steps, np.arange(length), side="right") - 1
    return np.where(last[:, None] < 0, np.float32(np.nan), output[last])
