"""A look inside a trained run, as plain arrays; `sbo_jax.plots` draws each of them in one call.

`TrainedRun` has these functions as methods.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..nn.lower_report import damped_cells
from ..nn.states import all_states
from ..rollouts import (
    ExperimentalFusedHopper,
    ExperimentalFusedTPU,
    Fused,
    Parallel,
    Unrolled,
)
from ..tasks._types import Batch, DataError
from ..training.method import GraphDef
from ..training.step import read

# Rollouts of an explicit step in time, whose rate is eta.
_IN_TIME = Unrolled | Parallel | Fused | ExperimentalFusedHopper | ExperimentalFusedTPU


class TimeScales(NamedTuple):
    """How fast the hidden units of every layer move.

    Attributes:
        eta: [layers, units], the lower-level step size after training, in no unit.
        steps: [layers, units], time steps in which a unit follows a change of its input, where the
            energy has curvature 1: ``1 / eta``, with momentum ``(1 - mu) / eta``. It takes longer
            where the energy is flatter.
    """

    eta: np.ndarray
    steps: np.ndarray


def hidden_states(run: Any, sequence: Any) -> np.ndarray:
    """The hidden state after every step, ``[T, units]``; of several layers that of the last.

    `sequence` is ``[T, features]``, as it is, in the unit of the data.

    Returns:
      One row a step of the sequence; NaN in steps that are not read, such as gaps left out.

    Raises:
      ValueError: a sequence that the run cannot read, in one sentence.
    """
    batch, steps, num_steps = _read(run, sequence)
    hs = np.asarray(_states(*nnx.split(run.model), batch))
    return _at_steps(hs[0, : len(steps)], steps, num_steps)


def saliency(run: Any, sequence: Any, answer: Any = None, *, step: int | None = None) -> np.ndarray:
    """``|d answer / d x_t|`` for every step and feature, ``[T, features]``: what it looked at.

    How far the answer would move if one number of the sequence did. That number counts in standard
    deviations of its feature, so that features compare; the answer is the logit of a class, or a
    number in its unit. It says nothing of changes that are large. What stands for a gap, the value
    carried or the mean, counts at the gap, not where it came from.

    `sequence` is ``[T, features]``, as it is, in the unit of the data. `answer` is the name of a
    class, by default the one that is predicted; or, of k numbers, which one, 0 to k - 1, by default
    0. Where every step has an answer, `step` says which is meant, by default the last; a negative
    one counts from the end.

    Returns:
      NaN in steps that are not read, such as gaps left out.

    Raises:
      ValueError: a sequence that the run cannot read, or an answer or step that it does not have.
    """
    batch, steps, num_steps = _read(run, sequence)
    position = _position(run, steps, num_steps, step)
    graphdef, state = nnx.split(run.model)
    outputs = np.asarray(_outputs(graphdef, state, batch))
    at = (0,) if position is None else (0, position)
    number = _number(run, outputs[at], answer)
    gradient = np.asarray(_gradient(graphdef, state, batch, (*at, number)))
    scaler = run.answering.scaler
    unit = 1.0 if scaler is None else scaler.std[number]
    own = np.abs(gradient[0, : len(steps), : run.reading.num_features]) * unit
    return _at_steps(own, steps, num_steps)


def time_scales(run: Any) -> TimeScales:
    """What eta the units have after training, and how many steps it takes them to move.

    Raises:
      ValueError: a run of another network, which has no eta, or one that solves an equation in
        every step or for the whole sequence, where eta is no rate of time.
    """
    cells = damped_cells(run.model)
    if not cells:
        name = run.config["model"]
        raise ValueError(f"expected a run of an SBO-RNN, which has an eta, got one of {name}")
    rollout = run.model.rnn.rollout
    if not isinstance(rollout, _IN_TIME):
        raise ValueError(
            f"expected a run that takes steps in time, got the rollout {type(rollout).__name__}, "
            f"whose states do not depend on eta; try one of --rollout unrolled"
        )
    per_input = getattr(rollout, "inner_steps", 1)
    rates = [(cell, *cell.hyperparameters(damping)) for cell, damping in cells]
    eta = np.stack([_each_unit(cell, eta) for cell, eta, *_ in rates])
    mu = np.stack([_each_unit(cell, mu[0] if mu else 0.0) for cell, _, *mu in rates])
    return TimeScales(eta, (1 - mu) / (eta * per_input))


def _read(run: Any, sequence: Any) -> tuple[Batch, np.ndarray, int]:
    """A batch of this sequence alone, which of its steps are read, and how many it has."""
    shape = np.shape(sequence)
    if len(shape) != 2:
        advice = "; try one of them, x[0]" if len(shape) == 3 else ""
        raise DataError(f"expected one sequence [steps, features], got the shape {shape}{advice}")
    source, kept = run.reading.read(run.table([sequence]))
    only = np.zeros(1, np.int64)
    return source.batch(only, source.num_steps(only)), kept[0], shape[0]


def _at_steps(values: np.ndarray, steps: np.ndarray, num_steps: int) -> np.ndarray:
    spread = np.full((num_steps, values.shape[-1]), np.nan)
    spread[steps] = values
    return spread


def _position(run: Any, steps: np.ndarray, num_steps: int, step: int | None) -> int | None:
    """Where the answer of a step is among those of the steps that are read."""
    if not run.answering.per_step:
        if step is not None:
            raise DataError(f"expected no step for a run with one answer a sequence, got {step}")
        return None
    chosen = num_steps - 1 if step is None else step + num_steps * (step < 0)
    if not 0 <= chosen < num_steps:
        raise DataError(f"expected a step below {num_steps}, got {step}")
    if chosen < steps[0]:
        raise DataError(f"expected a step from {steps[0]} on, the first that is read, got {step}")
    return int(np.searchsorted(steps, chosen, side="right")) - 1  # or the last before it


def _number(run: Any, outputs: np.ndarray, answer: Any) -> int:
    """Which of the outputs [k] is the answer."""
    if run.classes is None:
        known = list(range(len(outputs)))
        answer = 0 if answer is None else answer
    else:
        known = run.classes
        answer = known[int(outputs.argmax())] if answer is None else answer
    if answer not in known:
        raise DataError(f"expected an answer among {known}, got {answer!r}")
    return known.index(answer)


def _each_unit(cell: Any, value: Any) -> np.ndarray:
    return np.broadcast_to(np.asarray(value, np.float64), cell.hidden_features)


@partial(jax.jit, static_argnums=0)
def _states(graphdef: GraphDef, state: Any, batch: Batch) -> jax.Array:
    return all_states(nnx.merge(graphdef, state).rnn, batch.inputs, seq_lengths=batch.lengths)


@partial(jax.jit, static_argnums=0)
def _outputs(graphdef: GraphDef, state: Any, batch: Batch) -> jax.Array:
    return read(nnx.merge(graphdef, state), batch, None)[1]


@partial(jax.jit, static_argnums=0)
def _gradient(graphdef: GraphDef, state: Any, batch: Batch, at: tuple[Any, ...]) -> jax.Array:
    def output(inputs: jax.Array) -> jax.Array:
        return _outputs(graphdef, state, batch._replace(inputs=inputs))[at]

    return jax.grad(output)(jnp.asarray(batch.inputs))
