"""What training said, epoch after epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .styles import METRIC_LABELS, marker_spacing, styles

_LOSS_UNITS = {"accuracy": "nats", "mse": "squared error", "perplexity": "nats per word"}
_MANY_POINTS = 30


def learning_curves(
    epochs: Sequence[dict[str, Any]], metric: str, best_epoch: int | None = None
) -> Figure:
    """Loss and validation metric over epochs, from the lines of metrics.jsonl.

    Args:
      epochs: dicts with epoch, train_loss, validation_loss and validation.
      metric: "accuracy", "mse" or "perplexity".
      best_epoch: marked with a vertical line.
    """
    figure, loss_axes, metric_axes = _curve_axes(metric)
    _curve(loss_axes, epochs, "train_loss", label="training", color="C0", linestyle="-")
    _curve(loss_axes, epochs, "validation_loss", label="validation", color="C1", linestyle="--")
    _curve(metric_axes, epochs, "validation", label="validation", color="C2", linestyle="-")
    for axes in (loss_axes, metric_axes):
        if best_epoch is not None:
            axes.axvline(best_epoch, color="grey", linestyle=":", label=f"best: epoch {best_epoch}")
        axes.legend(frameon=False)
    return figure


def compare_learning_curves(runs: Mapping[str, Sequence[dict[str, Any]]], metric: str) -> Figure:
    """Training loss and validation metric of several named runs; see `learning_curves`.

    Losses above 30 times the median of all, as of a run near divergence, leave the axes.
    """
    figure, loss_axes, metric_axes = _curve_axes(metric)
    for (name, epochs), style in zip(runs.items(), styles(), strict=False):
        _curve(loss_axes, epochs, "train_loss", label=name, **style)
        _curve(metric_axes, epochs, "validation", **style)
    losses = [line["train_loss"] for epochs in runs.values() for line in epochs]
    loss_axes.set_ylabel(f"training loss ({_LOSS_UNITS[metric]})")
    if losses:
        top = min(1.2 * max(losses), 30 * float(np.median(losses)))
        loss_axes.set_ylim(min(losses) / 1.2, top)
        figure.legend(loc="outside right upper", frameon=False)
    return figure


def sweep_curves(cells: Sequence[dict[str, Any]]) -> Figure:
    """Learning curves of the best cell of every eta, from the lines of a sweep."""
    metric = cells[0]["metric"]
    sign = 1 if metric == "accuracy" else -1
    trained = [cell for cell in cells if cell["best"] is not None]
    best = {cell["eta"]: cell for cell in sorted(trained, key=lambda x: sign * x["best"])}
    name = "η {eta:g}, μ {mu:g}, seed {seed}"
    runs = {name.format(**best[eta]): best[eta]["curve"] for eta in sorted(best)}
    return compare_learning_curves(runs, metric)


def _curve_axes(metric: str) -> tuple[Figure, Axes, Axes]:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss_axes, metric_axes = figure.subplots(1, 2)
    loss_axes.set(xlabel="epoch", ylabel=f"loss ({_LOSS_UNITS[metric]})")
    if metric != "perplexity":  # a logarithm already, and never near 0
        loss_axes.set_yscale("log")
    metric_axes.set(xlabel="epoch", ylabel=METRIC_LABELS[metric])
    if metric == "mse":
        metric_axes.set_yscale("log")
    for axes in (loss_axes, metric_axes):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figure, loss_axes, metric_axes


def _curve(axes: Axes, epochs: Sequence[dict[str, Any]], name: str, **style: Any) -> None:
    marker = {"marker": "o"} | style if len(epochs) < _MANY_POINTS else style
    axes.plot(
        [line["epoch"] for line in epochs],
        [line[name] for line in epochs],
        **marker,
        **marker_spacing(len(epochs)),
    )
