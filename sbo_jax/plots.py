"""Figures of what training reports; matplotlib is imported here and nowhere else.

Lines differ in dash and marker as well as in colour, so that a figure can be read without colour.
"""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

_METRIC_LABELS = {"accuracy": "validation accuracy (fraction)", "mse": "validation MSE"}


def learning_curves(
    epochs: Sequence[dict[str, Any]], metric: str, best_epoch: int | None = None
) -> Figure:
    """Loss and validation metric over epochs, from the lines of metrics.jsonl.

    Args:
      epochs: dicts with epoch, train_loss, validation_loss and validation.
      metric: "accuracy" or "mse".
      best_epoch: marked with a vertical line.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss_axes, metric_axes = figure.subplots(1, 2)
    xs = [line["epoch"] for line in epochs]
    marker = "o" if len(xs) < 30 else None
    unit = "nats" if metric == "accuracy" else "squared error"
    train = [line["train_loss"] for line in epochs]
    validation = [line["validation_loss"] for line in epochs]
    loss_axes.semilogy(xs, train, "-", marker=marker, color="C0", label="training")
    loss_axes.semilogy(xs, validation, "--", marker=marker, color="C1", label="validation")
    loss_axes.set(xlabel="epoch", ylabel=f"loss ({unit})")
    values = [line["validation"] for line in epochs]
    metric_axes.plot(xs, values, "-", marker=marker, color="C2", label="validation")
    metric_axes.set(xlabel="epoch", ylabel=_METRIC_LABELS[metric])
    if metric == "mse":
        metric_axes.set_yscale("log")
    for axes in (loss_axes, metric_axes):
        axes.grid(alpha=0.3)
        if best_epoch is not None:
            axes.axvline(best_epoch, color="grey", linestyle=":", label=f"best: epoch {best_epoch}")
        axes.legend(frameon=False)
    return figure
