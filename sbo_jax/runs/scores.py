"""The scores that people ask for beside the metric that picks the model, by scikit-learn."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np

from ..tasks._types import Task
from ..training.predictions import Predicted

NAMES = {
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "auroc": "AUROC",
    "mae": "MAE",
    "r2": "R2",
}
"""What people call them."""


def scores(task: Task, predicted: Predicted) -> dict[str, float | None]:
    """By name, of classes or numbers, each None where it is not defined, as AUROC may be.

    The scores of classes are macro averages; those of numbers are means over outputs, MAE in their
    own unit. A target of every step counts like a sample.
    """
    return (
        _of_classes(task, predicted) if task.metric == "accuracy" else _of_numbers(task, predicted)
    )


def _of_classes(task: Task, predicted: Predicted) -> dict[str, float | None]:
    from sklearn import metrics

    labels, logits = predicted.targets, predicted.outputs
    answers = logits.argmax(axis=-1)
    with warnings.catch_warnings():  # of a class that is predicted, but that no sample has
        warnings.simplefilter("ignore", UserWarning)
        balanced = metrics.balanced_accuracy_score(labels, answers)
    return {
        "balanced_accuracy": float(balanced),
        "macro_f1": float(metrics.f1_score(labels, answers, average="macro", zero_division=0)),
        "auroc": _auroc(labels, logits, task.out_features),
    }


def _auroc(labels: np.ndarray, logits: np.ndarray, num_classes: int) -> float | None:
    """One class against the others, averaged over classes."""
    from sklearn import metrics

    if len(np.unique(labels)) < num_classes:
        return None
    probabilities = np.asarray(jax.nn.softmax(jnp.asarray(logits, jnp.float32)), np.float64)
    if num_classes == 2:
        return float(metrics.roc_auc_score(labels, probabilities[:, 1]))
    probabilities /= probabilities.sum(axis=-1, keepdims=True)  # to the digits that are checked
    return float(metrics.roc_auc_score(labels, probabilities, multi_class="ovr"))


def _of_numbers(task: Task, predicted: Predicted) -> dict[str, float | None]:
    from sklearn import metrics

    unit = np.ones(task.out_features) if task.target_std is None else np.asarray(task.target_std)
    targets, answers = predicted.targets * unit, predicted.outputs * unit
    return {
        "mae": float(metrics.mean_absolute_error(targets, answers)),
        "r2": float(metrics.r2_score(targets, answers)) if len(targets) > 1 else None,
    }
