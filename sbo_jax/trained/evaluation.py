"""How good the answers of a trained run are, where labels say what is right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._words import counted
from ..runs import scores
from ..runs.scores import Row
from ..tasks._types import DataError
from ..tasks.own.in_memory import as_array
from ..tasks.own.table import Table, without_label
from ..tasks.sources.ragged import Ragged


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Labels, and the answers in their place; of steps, where these have labels.

    Attributes:
        classes: all of them, by name; None where numbers are predicted.
        labels: [N] numbers of classes, or [N, k] numbers.
        answers: as the labels.
        probabilities: [N, k] of the classes; None for numbers.
    """

    classes: Sequence[Any] | None
    labels: np.ndarray
    answers: np.ndarray
    probabilities: np.ndarray | None

    @property
    def scores(self) -> Row:
        """The metric that chose the model, and the scores of summary.json, by name."""
        if self.probabilities is not None:
            accuracy = float(np.mean(self.labels == self.answers))
            return {"accuracy": accuracy} | scores.of_classes(self.labels, self.probabilities)
        error = float(np.mean(np.square(self.labels - self.answers)))
        return {"mse": error} | scores.of_numbers(self.labels, self.answers)

    @property
    def score(self) -> float:
        """Accuracy of classes, or R2 of numbers, NaN for one label alone: higher is better."""
        name = "r2" if self.classes is None else "accuracy"
        found = self.scores[name]
        return float("nan") if found is None else found

    @property
    def confusion(self) -> np.ndarray:
        """[k, k], how many of the class of a row were taken for that of a column."""
        return scores.confusion(self.labels, self.answers, len(self.classes or ()))

    @property
    def per_class(self) -> list[Row]:
        """Precision, recall, F1 and support of every class."""
        return scores.of_each_class(self.labels, self.answers, len(self.classes or ()))

    @property
    def per_output(self) -> list[Row]:
        """MAE, MSE and R2 of every number that is predicted."""
        return scores.of_each_number(self.labels, self.answers)


def evaluate(run: Any, raw: Any) -> Evaluation:
    """The answers for labelled data beside their labels.

    Steps that are not read, as is said of gaps and long sequences, count no more than in training.

    Args:
      run: a `TrainedRun`.
      raw: a DataFrame or a path, see `TrainedRun`.

    Raises:
      ValueError: data that the run cannot read, without labels, or with others than in training.
    """
    table = run.labelled_table(raw)
    _check_kind(run, table)
    answers = run.answers_of(table)
    labels, rows = (table.labels, None) if not run.answering.per_step else _of_steps(run, table)
    found = _at(rows, answers.answers)
    if not len(found):
        raise DataError("expected a label or more, got none at all")
    if run.classes is None or answers.probabilities is None:
        _check_number(_columns(labels), _columns(found))
        return Evaluation(None, _columns(labels), _columns(found), None)
    probabilities = _at(rows, answers.probabilities)
    numbers = _class_numbers(np.asarray(labels), run.classes, table)
    return Evaluation(run.classes, numbers, probabilities.argmax(axis=-1), probabilities)


def of_labelled_steps(found: Sequence[np.ndarray], wanted: Any) -> tuple[np.ndarray, np.ndarray]:
    """The answers and the labels of all steps that have both."""
    _check_count(len(found), len(wanted), "")
    each = [
        like_answers(answers, _with_gaps(labels), f" in sequence {number} (counted from 0)")
        for number, (answers, labels) in enumerate(zip(found, wanted, strict=True))
    ]
    answers, labels = np.concatenate(found), np.concatenate(each)
    has = _has_label(labels) & _has_label(answers)
    if not has.any():
        raise DataError("expected a label or more, got none at all")
    kept = labels[has]
    return _narrowed(answers[has]), _narrowed(kept)


def _narrowed(values: np.ndarray) -> np.ndarray:
    """An array of objects in the type that they have in common."""
    return np.array(values.tolist()) if values.dtype == object else values


def of_labelled_sequences(found: np.ndarray, wanted: Any) -> np.ndarray:
    """The labels of all sequences, which must have one."""
    labels = like_answers(found, _with_gaps(wanted))
    has = _has_label(labels) if len(labels) else np.ones(0, bool)
    if not has.all():
        number = int(np.argmin(has))
        raise DataError(
            f"expected a label for every sequence, got {labels[number]!r} for sequence {number} "
            f"(counted from 0); leave it out"
        )
    return _narrowed(labels)


def like_answers(found: np.ndarray, wanted: Any, place: str = "") -> np.ndarray:
    """The labels in the shape of the answers: a column [N, 1] becomes [N]."""
    labels = np.asarray(wanted)
    _check_count(len(found), len(labels), place)
    if labels.size != found.size:
        raise DataError(f"expected labels of shape {found.shape}, got {labels.shape}{place}")
    return labels.reshape(found.shape)


def _check_count(expected: int, got: int, place: str) -> None:
    """DataError for another number of labels than of answers."""
    if expected != got:
        raise DataError(
            f"expected {counted(expected, 'label')}, one for each answer, got {got}{place}"
        )


def _with_gaps(labels: Any) -> np.ndarray:
    """An array; of a list one of objects, since NumPy makes text of a NaN among text."""
    return np.asarray(labels, object) if isinstance(labels, list | tuple) else as_array(labels)


def _check_kind(run: Any, table: Table) -> None:
    """DataError for labels of sequences where training had those of steps, or the other way."""
    if run.reading.new_data.horizon is not None:
        return
    kinds = ("every sequence", "every step")
    expected, got = run.answering.per_step, isinstance(table.labels, Ragged)
    if expected != got:
        advice = "add per_step = true" if expected else "leave per_step out"
        raise DataError(
            f"expected a label for {kinds[expected]}, as in training, got one for {kinds[got]}; "
            f"{advice}"
        )


def _check_number(labels: np.ndarray, answers: np.ndarray) -> None:
    if labels.shape[1] != answers.shape[1]:
        raise DataError(
            f"expected {counted(answers.shape[1], 'number')} as labels, as in training, got "
            f"{labels.shape[1]}"
        )


def _of_steps(run: Any, table: Table) -> tuple[np.ndarray, list[np.ndarray]]:
    """All labels of steps that are read, and which steps of every sequence these are."""
    _, read = run.reading.read(table)
    horizon = run.reading.new_data.horizon
    labels, rows = [], []
    for index, steps in enumerate(read):
        if horizon is not None:
            own, kept = table.inputs[index][steps[horizon:]], steps[: max(0, len(steps) - horizon)]
        else:
            assert isinstance(table.labels, Ragged)
            own = table.labels[index][steps]
            has = _has_label(own)
            own, kept = own[has], steps[has]
        labels.append(own)
        rows.append(kept)
    return np.concatenate(labels), rows


def _has_label(labels: np.ndarray) -> np.ndarray:
    """Which of the steps [S] have a label; of several numbers [S, k], all of them."""
    return np.all(_is_label(labels).reshape(len(labels), -1), axis=1)


def _is_label(labels: np.ndarray) -> np.ndarray:
    """Where labels are neither an empty text nor NaN or None."""
    if labels.dtype == object:
        return np.array([x not in (None, "") and x == x for x in labels.flat])
    return np.isfinite(labels) if labels.dtype.kind == "f" else ~without_label(labels)


def _at(rows: list[np.ndarray] | None, values: Any) -> np.ndarray:
    """The values of all sequences, or of these steps of each."""
    if rows is None:
        return np.asarray(values)
    return np.concatenate([own[steps] for own, steps in zip(values, rows, strict=True)])


def _columns(numbers: Any) -> np.ndarray:
    return np.asarray(numbers, np.float64).reshape(len(numbers), -1)


def _class_numbers(labels: np.ndarray, classes: Sequence[Any], table: Table) -> np.ndarray:
    names, own = np.unique(labels, return_inverse=True)
    # a CSV file of few sequences may have labels that look like integers by chance
    is_text = isinstance(classes[0], str)
    known = {name: number for number, name in enumerate(classes)}
    numbers = [known.get(str(name) if is_text else name) for name in names.tolist()]
    if None in numbers:
        name = names[numbers.index(None)].item()
        raise DataError(
            f"{table.place_of(name)}: expected a label among {list(classes)}, as in training, got "
            f"{name!r}"
        )
    return np.array(numbers)[own]
