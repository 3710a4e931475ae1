"""A trained model that takes data as users have them, and answers in their words."""

import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np

from ..disk.text import Json
from ..runs.model_arrays import model_arrays
from ..tasks._types import DataError
from ..tasks.own.table import Table
from ..tasks.sources.scaling import Scaler
from . import insights
from .answering import Answering, each
from .description import screen
from .evaluation import evaluate, of_labelled_sequences, of_labelled_steps
from .export import write
from .outputs import PerStep, outputs
from .reading import Reading
from .rebuilding import rebuilt
from .stream import Stream


class Answers(NamedTuple):
    """Answers with what belongs to them; of every step, lists of arrays.

    Attributes:
        ids: [N], what names a sequence in the data: the value of its column, in order of first
            appearance, or its file; or else its number, from 0.
        answers: [N] classes or numbers, [N, k] where k numbers are predicted.
        probabilities: [N, k] of the classes; None for numbers.
    """

    ids: Sequence[str]
    answers: np.ndarray | PerStep
    probabilities: np.ndarray | PerStep | None


class TrainedRun:
    """What `sbo_jax.load` returns: a model, and how its data are read and its answers meant.

    Data are scaled, and gaps and long sequences treated, as in training. They may be

    - an array [N, T, d], or a list of N arrays [T_i, d];
    - a DataFrame (anything with ``__arrow_c_stream__``) with a row for every step, for a run that
      was trained on a long table;
    - the path of files in the layout of those that the run was trained on (a list of paths, or a
      pattern, for long tables), or of a dataset.toml that describes others.

    Attributes:
        model: the `nnx.Module`, which reads scaled inputs.
        content: what config.json of the run holds.
        summary: what summary.json holds; None where there is none, as where training was cut short.
        place: where the run is; None for one that was never on disk.
    """

    def __init__(
        self,
        model: Any,
        content: Json,
        summary: Json | None = None,
        place: str | None = None,
    ):
        self.model, self.content, self.summary, self.place = model, content, summary, place

    @property
    def config(self) -> Json:
        """All options of the run by name."""
        return self.content["config"]

    @property
    def metric(self) -> str:
        """``accuracy``, ``mse`` or ``perplexity``."""
        return str(self.content["model"]["metric"])

    @property
    def classes(self) -> list[Any] | None:
        """Names of the classes in the order of probabilities; None where numbers are predicted."""
        names = self.answering.classes
        return None if names is None else names.tolist()

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features, if the training data had them."""
        return self.reading.features

    @property
    def scaler(self) -> Scaler:
        """``(x - scaler.mean) / scaler.std`` is what the model reads."""
        return self.reading.scaler

    @cached_property
    def reading(self) -> Reading:
        """How new data are made what the model reads."""
        self._check_reads_numbers()
        return Reading.of(self.content)

    @cached_property
    def answering(self) -> Answering:
        """How outputs of the model are made answers."""
        return Answering.of(self.content)

    def predict(self, raw: Any) -> Any:
        """The answer for every sequence: its class by name, or the predicted numbers in their unit.

        In chunks, so that memory does not grow with the number of sequences.

        Args:
          raw: the data, see `TrainedRun`.

        Returns:
          Classes ``[N]``; or numbers ``[N]``, or ``[N, k]`` where the run predicts several. Where
          every step has an answer, a list of N arrays ``[T_i]`` or ``[T_i, k]``; a step that is not
          read has the answer of the one before it. Before the first that is read a class is None,
          and a number NaN.

        Raises:
          ValueError: data that the run cannot read, in one sentence, or an answer that is not
            finite.
        """
        return each(self.answering.answers, self._outputs(self.table(raw)))

    def predict_proba(self, raw: Any) -> Any:
        """The probability of every class, ``[N, k]`` in the order of `classes`.

        Where every step has an answer, a list of N arrays ``[T_i, k]``, NaN before the first step
        that is read. Data and errors as for `predict`; ValueError for a run that predicts numbers.
        """
        self.answering.check_classes()
        return each(self.answering.probabilities, self._outputs(self.table(raw)))

    def answers(self, raw: Any) -> Answers:
        """`predict` and `predict_proba` at once, with what names every sequence."""
        return self.answers_of(self.table(raw))

    def answers_of(self, table: Table) -> Answers:
        """The answers for a table as `table` returns it."""
        found, answering = self._outputs(table), self.answering
        return Answers(
            list(table.ids),
            each(answering.answers, found),
            None if answering.classes is None else each(answering.probabilities, found),
        )

    def stream(self, batch: int = 1) -> Stream:
        """The run on live data, one time step of `batch` sequences at a time."""
        self._check_reads_numbers()
        return Stream(self.model, self.content, batch)

    def table(self, raw: Any) -> Table:
        """The sequences in data as users have them, before they are scaled."""
        return self.reading.table(raw)

    def labelled_table(self, raw: Any) -> Table:
        """As `table`, of a DataFrame or a path, with the labels that are there."""
        return self.reading.labelled_table(raw)

    def score(self, raw: Any, labels: Any = None) -> float:
        """Accuracy of the classes, or R2 of the numbers, averaged over several: higher is better.

        Args:
          raw: the data, see `TrainedRun`.
          labels: as `predict` returns them; of steps, an empty text, NaN or None is none, and does
            not count. None for a DataFrame or a path, whose own are read, and for forecasts, whose
            labels are later steps of the data.

        Raises:
          ValueError: data that the run cannot read, or labels of another number or shape.
        """
        if labels is None:
            return evaluate(self, raw).score
        if self.reading.new_data.horizon is not None:
            raise DataError(
                "expected no labels of a forecast, which later steps are; leave them out"
            )
        from sklearn import metrics

        found = self.predict(raw)
        if self.answering.per_step:
            found, wanted = of_labelled_steps(found, labels)
        else:
            wanted = of_labelled_sequences(found, labels)
        if self.answering.classes is None:
            return float(metrics.r2_score(wanted, found))
        _check_classes(wanted, self.answering.classes.tolist())
        return float(np.mean(found == wanted))

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write a new zip file that answers as this run does, without sbo_jax (docs/runs.md).

        It takes any number of sequences of any length (a `ShaRNN`: the length of training), on
        CPUs, GPUs and TPUs. ValueError for a language model, a path that is there or cannot be,
        and where flatbuffers is not installed.
        """
        write(path, self.model, self.reading, self.answering, self.content, self.summary)

    hidden_states = insights.hidden_states
    saliency = insights.saliency
    time_scales = insights.time_scales

    def __getstate__(self) -> Json:
        """What `pickle` keeps of a model, which itself cannot be pickled: its arrays."""
        kept = {"content": self.content, "summary": self.summary, "place": self.place}
        return kept | {"arrays": jax.tree.map(np.asarray, model_arrays(self.model))}

    def __setstate__(self, state: Json) -> None:
        model = rebuilt(state["content"], state["arrays"])
        TrainedRun.__init__(self, model, state["content"], state["summary"], state["place"])

    def __repr__(self) -> str:
        return screen(self.model, self.content, self.summary, self.place)

    def _outputs(self, table: Table) -> np.ndarray | PerStep:
        # batches of training, whose memory sufficed
        per_step, at_once = self.answering.per_step, self.config["batch_size"]
        return outputs(self.model, self.reading, table, per_step=per_step, most_at_once=at_once)

    def _check_reads_numbers(self) -> None:
        if self.metric == "perplexity":
            raise ValueError(
                "expected a run on sequences of numbers, got a language model, which reads words; "
                "use .model"
            )


def _check_classes(labels: np.ndarray, classes: list[Any]) -> None:
    unknown = [label for label in np.unique(labels).tolist() if label not in classes]
    if unknown:
        raise DataError(f"expected labels among {classes}, got {unknown[0]!r}")
