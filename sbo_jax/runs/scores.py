"""The scores that people ask for beside the metric that picks the model, by scikit-learn."""

import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from .test_split.answers import Answers

NAMES = {
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "auroc": "AUROC",
    "mae": "MAE",
    "mse": "MSE",
    "r2": "R2",
    "f1": "F1",
}
"""What people call them."""

Row: TypeAlias = dict[str, float | None]
"""Scores by name."""


def scores(answers: Answers) -> Row:
    """By name, of classes or numbers, each None where it is not defined, as AUROC may be.

    The scores of classes are macro averages; those of numbers are means over outputs, MAE in their
    own unit. A target of every step counts like a sample.
    """
    if answers.metric == "accuracy":
        return of_classes(answers.targets, answers.outputs.astype(np.float64))
    return of_numbers(answers.targets, answers.outputs)


def of_classes(labels: np.ndarray, probabilities: np.ndarray) -> Row:
    """Of classes [N] by number and the probabilities [N, k] of all."""
    from sklearn import metrics

    answers = probabilities.argmax(axis=-1)
    with warnings.catch_warnings():  # of a class that is predicted, but that no sample has
        warnings.simplefilter("ignore", UserWarning)
        balanced = metrics.balanced_accuracy_score(labels, answers)
    return {
        "balanced_accuracy": float(balanced),
        "macro_f1": float(metrics.f1_score(labels, answers, average="macro", zero_division=0)),
        "auroc": _auroc(labels, probabilities),
    }


def _auroc(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """One class against the others, averaged over classes."""
    from sklearn import metrics

    num_classes = probabilities.shape[1]
    if len(np.unique(labels)) < num_classes:
        return None
    if num_classes == 2:
        return float(metrics.roc_auc_score(labels, probabilities[:, 1]))
    # they add up to 1 to the digits that are checked
    probabilities = probabilities / probabilities.sum(axis=-1, keepdims=True)
    return float(metrics.roc_auc_score(labels, probabilities, multi_class="ovr"))


def of_numbers(targets: np.ndarray, answers: np.ndarray) -> Row:
    """Of numbers [N, k] in their unit, and of the answers for them."""
    from sklearn import metrics

    return {
        "mae": float(metrics.mean_absolute_error(targets, answers)),
        "r2": float(metrics.r2_score(targets, answers)) if len(targets) > 1 else None,
    }


def confusion(labels: np.ndarray, answers: np.ndarray, num_classes: int) -> np.ndarray:
    """[K, K]: how often class i was answered with class j."""
    from sklearn import metrics

    return metrics.confusion_matrix(labels, answers, labels=range(num_classes))


def of_each_class(labels: np.ndarray, answers: np.ndarray, num_classes: int) -> list[Row]:
    """Precision, recall, F1 and support of every class; None where one is 0 / 0."""
    from sklearn import metrics

    columns = metrics.precision_recall_fscore_support(
        labels, answers, labels=range(num_classes), zero_division=np.nan
    )
    names = ("precision", "recall", "f1", "support")
    return [_row(names, numbers) for numbers in zip(*columns, strict=True)]


def of_each_number(targets: np.ndarray, answers: np.ndarray) -> list[Row]:
    """MAE, MSE and R2 of every output [N, k]; R2 is None for a single sample."""
    from sklearn import metrics

    several = {"multioutput": "raw_values"}
    columns = (
        metrics.mean_absolute_error(targets, answers, **several),
        metrics.mean_squared_error(targets, answers, **several),
        metrics.r2_score(targets, answers, **several)
        if len(targets) > 1
        else np.full(targets.shape[1], np.nan),
    )
    return [_row(("mae", "mse", "r2"), numbers) for numbers in zip(*columns, strict=True)]


def _row(names: Sequence[str], numbers: Sequence[Any]) -> Row:
    known = [None if number != number else number.item() for number in numbers]
    return dict(zip(names, known, strict=True))
