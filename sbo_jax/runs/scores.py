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
    targets, outputs = predicted.targets, predicted.outputs
    if task.metric == "accuracy":
        logits = jnp.asarray(outputs, jnp.float32)
        return of_classes(targets, np.asarray(jax.nn.softmax(logits), np.float64))
    unit = np.ones(task.out_features) if task.target_std is None else np.asarray(task.target_std)
    return of_numbers(targets * unit, outputs * unit)


def of_classes(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float | None]:
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


def of_numbers(targets: np.ndarray, answers: np.ndarray) -> dict[str, float | None]:
    """Of numbers [N, k] in their unit, and of the answers for them."""
    from sklearn import metrics

    return {
        "mae": float(metrics.mean_absolute_error(targets, answers)),
        "r2": float(metrics.r2_score(targets, answers)) if len(targets) > 1 else None,
    }
