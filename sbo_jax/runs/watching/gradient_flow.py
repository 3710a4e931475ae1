"""How evenly gradients reach back through time, epoch by epoch, for those who ask.

RUN/gradient_flow.jsonl   one line before the first step, of epoch 0, and one after every epoch,
                          where --report-gradient-flow asks for it

A line has the largest and the smallest ||dl/dh_t|| over t and their ratio, l a linear read-out of
the last state: 1 is even. Where the gradient of a step underflows to 0, or is not finite, the
ratio is null. Samples are of validation, and their targets are not looked at: it decides nothing.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...devices.processes import from_first, together
from ...disk.text import Json
from ...nn.gradient_flow import layer_gradient_flow
from ...tasks._types import Source
from ...tasks.sources.sequences import SequenceSource
from ...training.fit import Epoch
from ...training.method import GraphDef, TrainState
from ...training.step import merge
from ..folder.run_folder import RunFolder
from ..preparation import Prepared

MOST_SAMPLES = 64
_NAME = "gradient_flow.jsonl"


class FlowOfEpochs:
    """Logs the gradient flow of every epoch, from where the folder's log stands.

    Raises:
      ValueError: as `measured_inputs`.
    """

    def __init__(self, prepared: Prepared, folder: RunFolder):
        self._folder = folder
        self._graphdef, self._start = prepared.init()
        self._inputs = measured_inputs(prepared)

    def before(self) -> None:
        """Measure the model before the first step, unless that is known."""
        path = self._folder.path / _NAME
        if not from_first(path.is_file() and path.stat().st_size > 0):
            self._add(0, 0, self._start)

    def after(self, epoch: Epoch) -> None:
        """Measure the model of an epoch."""
        self._add(epoch.epoch, epoch.step, epoch.state)

    def _add(self, epoch: int, step: int, state: TrainState) -> None:
        norms = _norms(self._graphdef, state._replace(method_state=()), self._inputs)
        largest, smallest = float(np.max(norms)), float(np.min(norms))
        known = math.isfinite(largest) and smallest > 0
        ratio = largest / smallest if known else None
        line: Json = {"epoch": epoch, "step": step, "ratio": ratio}
        line |= {"largest": largest, "smallest": smallest}
        together(lambda: self._folder.append_line(_NAME, line))


def measured_inputs(prepared: Prepared) -> np.ndarray:
    """[B, T, d]: samples of validation without padding, as many as in a batch, at most 64.

    All of the length that most have, of equally many the longest, from all over the split.

    Raises:
      ValueError: that is a single step, through which nothing flows.
    """
    task, most = prepared.task, min(MOST_SAMPLES, prepared.recipe.batch_size)
    rows, length = _of_one_length(task.validation, task.length)
    if length < 2:
        raise ValueError(
            f"expected validation samples of T >= 2 time steps for --report-gradient-flow, got "
            f"T = {length}; remove it"
        )
    chosen = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
    return task.validation.fetch(chosen)[0]


def check_flows(prepared: Prepared) -> None:
    """ValueError where the gradient flow is asked for, of samples that have none."""
    if prepared.config.choice.report_gradient_flow:
        measured_inputs(prepared)


def _of_one_length(source: Source, longest: int) -> tuple[np.ndarray, int]:
    """The samples of the most frequent length, and that length."""
    if not isinstance(source, SequenceSource):
        return np.arange(len(source)), longest
    counts = np.bincount(source.inputs.lengths)
    length = int(np.flatnonzero(counts == counts.max())[-1])
    return np.flatnonzero(source.inputs.lengths == length), length


@partial(jax.jit, static_argnums=0)
def _norms(
    graphdef: GraphDef, state: TrainState, inputs: Float[Array, "batch time inputs"]
) -> Float[Array, " time"]:
    model = merge(graphdef, state)
    model.eval()
    return layer_gradient_flow(model.rnn, jnp.moveaxis(inputs, 1, 0))
