"""A trained run on live data: one time step at a time, and the answer so far after each."""

import os
from typing import Any

import numpy as np

from .._checks import check_counts
from .._words import counted
from ..disk.paths import local_path
from ..disk.text import Json
from ..nn.single_step import SingleStep
from ..tasks._types import DataError
from . import stream_state
from .answering import Answering
from .reading import Reading
from .stream_state import StreamState
from .stream_steps import StepReading


class Stream:
    """The answers so far to `batch` sequences, whose steps come one by one.

    After every step they are what `TrainedRun.predict` answers to the whole so far, to rounding, or
    to this step where every step has an answer. A sequence may grow for ever, in the same memory,
    and also beyond ``max_length``, where `predict` refuses or cuts it. `push` takes a step, or
    raises and changes nothing. Before its first step a sequence has no answer: None for a class,
    NaN for numbers.

    The model is the one of the moment when the stream is made.

    Args:
      model: that of a run.
      content: what config.json of the run holds.
      batch: sequences side by side.

    Raises:
      ValueError: a layer that needs the whole sequence at once, or a language model.
    """

    def __init__(self, model: Any, content: Json, batch: int = 1):
        check_counts(batch=batch)
        self.batch = batch
        self._reading, self._answering = Reading.of(content), Answering.of(content)
        self._steps = StepReading(self._reading, batch)
        self._run = stream_state.identity(model, content)
        self._step = SingleStep(model, batch, self._reading.scaler.num_features)
        outputs = np.full((batch, self._step.out_features), np.nan, np.float32)
        self._start = self._state = StreamState(
            self._step.initial_carry, self._steps.none_yet, outputs, np.zeros(batch, np.int64)
        )
        self._answers_one = batch == 1

    @property
    def num_steps(self) -> np.ndarray:
        """[batch], the steps that every sequence has read; lost ones are not among them."""
        return self._state.num_steps.copy()

    def push(self, x: Any, mask: Any = None) -> Any:
        """The answers after one more step.

        Args:
          x: raw features, as in the data that the run was trained on, [batch, d]; [d] will do for
            batch 1. None: the step is lost for all sequences.
          mask: [batch] bool, False where the step is lost for a sequence, which then keeps its
            state and its answer. So does one whose features are all gaps, in a run that was
            trained with ``missing = "mask"``.

        Returns:
          [batch] classes or numbers, or [batch, k] numbers, as from `predict`; for a step [d]
          without its first axis, as a Python object.

        Raises:
          ValueError: a step that the run cannot read, or whose answer would not be finite.
        """
        if x is not None:
            self._read(x, mask)
            self._answers_one = self.batch == 1 and np.ndim(x) == 1
        elif mask is not None:
            raise DataError("expected features together with a mask, got None; leave the mask out")
        answers = self.predict()
        if not self._answers_one:
            return answers
        return answers[0] if answers.ndim > 1 else answers.item()

    def predict(self) -> np.ndarray:
        """The answers so far, [batch] or [batch, k]."""
        return self._answering.answers(self._state.outputs)

    def predict_proba(self) -> np.ndarray:
        """The probabilities so far, [batch, k] in the order of the run's classes.

        Raises:
          ValueError: the run predicts numbers.
        """
        self._answering.check_classes()
        return self._answering.probabilities(self._state.outputs)

    def reset(self, rows: Any = None) -> None:
        """Begin anew: all sequences, or those of `rows`, by index or as a mask [batch] of bool.

        Raises:
          ValueError: other rows than there are.
        """
        if rows is None:
            self._state = self._start
        else:
            self._state = self._state.with_rows_of(self._start, self._rows(rows))

    @property
    def state(self) -> dict[str, np.ndarray]:
        """All that later answers depend on, as arrays by name; the stream itself goes on."""
        return stream_state.as_arrays(self._state, self._run)

    def restore(self, state: Any) -> None:
        """Go on from a `state`, in this process or another.

        Raises:
          ValueError: the state of another run, or of another number of sequences.
        """
        self._state = stream_state.from_arrays(state, self._start, self._run)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `state` to a file, which NumPy's `load` reads; it is whole or not written."""
        stream_state.write(local_path(path), self.state)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from a file that `save` wrote; errors as of `restore`, and for a damaged one."""
        self.restore(stream_state.read(local_path(path)))

    def __repr__(self) -> str:
        least, most = int(self._state.num_steps.min()), int(self._state.num_steps.max())
        least_of_all = f"{least:,} to " * bool(least < most)
        return f"Stream(batch={self.batch}): {least_of_all}{counted(most, 'step')} read"

    def _read(self, x: Any, mask: Any) -> None:
        step = self._steps.step(x, mask, self._state.last)
        read = step.read
        if read is not None and not read.any():
            self._state = self._state._replace(last=step.last)
            return
        carry, found = self._step(self._state.carry, step.inputs, read)
        outputs = np.asarray(found)
        if read is not None:
            outputs = np.where(read[:, None], outputs, self._state.outputs)
        self._check_finite(outputs, read)
        num_steps = self._state.num_steps + (1 if read is None else read)
        self._state = StreamState(carry, step.last, outputs, num_steps)

    def _check_finite(self, outputs: np.ndarray, read: np.ndarray | None) -> None:
        finite = np.isfinite(outputs)
        if finite.all():
            return
        wrong = ~finite.all(axis=1) & (True if read is None else read)
        if wrong.any():
            raise DataError(
                f"expected finite outputs of the model, got others for sequence {wrong.argmax()} "
                f"(counted from 0); look for values far beyond those of training, or reset it"
            )

    def _rows(self, rows: Any) -> np.ndarray:
        """A mask [batch] of rows."""
        chosen, given = np.zeros(self.batch, bool), np.asarray(rows)
        if given.dtype == bool and given.shape == chosen.shape:
            return given
        if not given.size:
            return chosen
        if given.dtype.kind not in "iu" or not ((given >= 0) & (given < self.batch)).all():
            raise DataError(
                f"expected rows from 0 to {self.batch - 1}, or a mask of {self.batch} bool, got "
                f"{rows!r:.60}"
            )
        chosen[given] = True
        return chosen
