"""How far predicted numbers are off, output by output, and where most."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from ...tasks._types import Task
from ...training.predictions import Predicted
from .. import scores
from .markdown import scored, table
from .places import columns, one_of_each, places

_MOST_ERRORS = 10


def of_numbers(task: Task, predicted: Predicted) -> tuple[str, Callable[[ModuleType], Any]]:
    """The text below the picture, and how the picture, predicted.png, is drawn."""
    names = output_names(task)
    true, answers = (in_unit(task, values) for values in (predicted.targets, predicted.outputs))
    parts = [
        "## Outputs\n",
        scored("output", names, scores.of_each_number(true, answers)),
        "## The largest errors\n",
        _errors(task, predicted, true, answers),
    ]
    return "\n".join(parts), lambda plots: plots.predicted(true, answers, names)


def output_names(task: Task) -> list[str]:
    """As the data name what is predicted, or else numbers."""
    label = (task.layout or {}).get("label")
    known = task.facts.get("features", ()) if task.forecasts else label or ()
    names = [known] if isinstance(known, str) else list(known)
    whole = len(names) == task.out_features
    return names if whole else [f"output {number}" for number in range(task.out_features)]


def in_unit(task: Task, values: np.ndarray) -> np.ndarray:
    """[N, k] float64 in the unit that the data have."""
    numbers = values.astype(np.float64)
    if task.target_std is None:
        return numbers
    return numbers * np.asarray(task.target_std) + np.asarray(task.facts["target_mean"])


def _errors(task: Task, predicted: Predicted, true: np.ndarray, answers: np.ndarray) -> str:
    """Of every sequence the largest error, in the spread of its output; the ten largest."""
    names, errors = output_names(task), answers - true
    spread = np.ones(len(names)) if task.target_std is None else np.asarray(task.target_std)
    relative = np.abs(errors) / spread
    ranked = one_of_each(predicted, np.argsort(-relative.max(axis=-1), kind="stable"))[
        :_MOST_ERRORS
    ]
    rows = []
    for i, place in zip(ranked, places(task, predicted, ranked), strict=True):
        j = int(relative[i].argmax())
        rows.append([*place, names[j], *map(float, (true[i, j], answers[i, j], errors[i, j]))])
    said = "Of every sequence its largest error, by the spread that the output has in training:"
    heads = [*columns(task, predicted), "output", "true", "answer", "error"]
    return f"{said}\n\n{table(heads, rows)}"
