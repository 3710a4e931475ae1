"""How well every class was recognised, and where the model was sure and wrong."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ..._words import counted
from ...tasks._types import Task
from ...training.predictions import Predicted
from .. import scores
from .markdown import cell, scored, table
from .places import columns, one_of_each, places

_MOST_MISTAKES = 10
_MOST_PAIRS = 3


def of_classes(task: Task, predicted: Predicted) -> tuple[str, Callable[[ModuleType], Any]]:
    """The text below the picture, and how the picture, confusion.png, is drawn."""
    names = class_names(task)
    answers = predicted.outputs.argmax(axis=-1)
    counts = scores.confusion(predicted.targets, answers, len(names))
    per_class = scores.of_each_class(predicted.targets, answers, len(names))
    parts = [
        _confused(counts, names),
        "## Classes\n",
        scored("class", names, per_class),
        "## The most confident mistakes\n",
        _mistakes(task, predicted, answers, names),
    ]
    return "\n".join(parts), lambda plots: plots.confusion(counts, names)


def class_names(task: Task) -> list[str]:
    """In the order of the outputs: as the data have them, or else numbers."""
    return [str(name) for name in task.facts.get("classes") or range(task.out_features)]


def _confused(counts: np.ndarray, names: Sequence[str]) -> str:
    """The pairs of classes that are confused most, in a sentence."""
    mistakes = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    largest = np.argsort(-mistakes, axis=None, kind="stable")[:_MOST_PAIRS]
    pairs = [np.unravel_index(place, counts.shape) for place in largest if mistakes.flat[place]]
    if not pairs:
        return "No mistake was made.\n"
    told = [f"{cell(names[i])} taken for {cell(names[j])} ({counts[i, j]:,})" for i, j in pairs]
    return f"Most often: {', '.join(told)}.\n"


def _mistakes(task: Task, predicted: Predicted, answers: np.ndarray, names: Sequence[str]) -> str:
    """Where the probability of a wrong answer was highest; of every sequence one step."""
    doubts = _log_odds_of_others(predicted.outputs.astype(np.float64), answers)
    wrong = np.flatnonzero(answers != predicted.targets)
    if not wrong.size:
        return "There are none.\n"
    ranked = one_of_each(predicted, wrong[np.argsort(doubts[wrong], kind="stable")])
    rows = [
        [*place, names[predicted.targets[i]], names[answers[i]], 1 / (1 + np.exp(doubts[i]))]
        for i, place in zip(
            ranked[:_MOST_MISTAKES], places(task, predicted, ranked[:_MOST_MISTAKES]), strict=True
        )
    ]
    what, each = "sequence", ""
    if predicted.steps is not None:
        what, each = "step", " Of every sequence, the step where the model was surest:"
    said = f"{counted(len(wrong), what)} of {len(answers):,} got a wrong answer.{each}"
    return f"{said}\n\n" + table([*columns(task, predicted), "true", "answer", "probability"], rows)


def _log_odds_of_others(logits: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """[N]: ``log((1 - p) / p)`` of the answer, which tells apart what is 1 once rounded."""
    others = logits.copy()
    np.put_along_axis(others, answers[:, None], -np.inf, axis=-1)
    own = np.take_along_axis(logits, answers[:, None], axis=-1)[:, 0]
    return np.logaddexp.reduce(others, axis=-1) - own
