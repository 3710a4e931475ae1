"""Losses, metrics and learned hyper-parameters in the course of training."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .._types import AxisScale
from .._words import counted
from .styles import Metric, curve_styles, literal, marker_spacing, width_beside
from .swept import by_row

_MANY_POINTS = 30
_Times: TypeAlias = Sequence[int] | Sequence[float] | np.ndarray


def learning_curves(
    epochs: Sequence[dict[str, Any]], metric: Metric, best_epoch: int | None = None
) -> Figure:
    """Loss and validation metric over epochs, from the lines of metrics.jsonl.

    Args:
      epochs: dicts with epoch, train_loss, validation_loss and validation.
      metric: the objective that was trained.
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


def compare_learning_curves(runs: Mapping[str, Sequence[dict[str, Any]]], metric: Metric) -> Figure:
    """Training loss and validation metric of several named runs; see `learning_curves`.

    Losses above 30 times the median, as in a run near divergence, are cut off.
    """
    figure, loss_axes, metric_axes = _curve_axes(metric, 1.5 + width_beside(runs))
    for (name, epochs), style in zip(runs.items(), curve_styles(), strict=False):
        _curve(loss_axes, epochs, "train_loss", label=literal(name), **style)
        _curve(metric_axes, epochs, "validation", **style)
    losses = [line["train_loss"] for epochs in runs.values() for line in epochs]
    loss_axes.set_ylabel(f"training loss ({metric.loss_unit})")
    if losses:
        top = min(1.2 * max(losses), 30 * float(np.median(losses)))
        loss_axes.set_ylim(min(losses) / 1.2, top)
        figure.legend(loc="outside right upper", frameon=False)
    return figure


def sweep_curves(cells: Sequence[dict[str, Any]], metric: Metric) -> Figure:
    """Learning curves of the best cell of every eta, or of every row where there are several.

    Args:
      cells: the lines of a sweep.
      metric: the objective that was trained.
    """
    sign = 1 if metric.higher_is_better else -1
    trained = [cell for cell in cells if cell["best"] is not None]
    ranked = sorted(trained, key=lambda cell: sign * cell["best"])  # of each, the last stays
    if len(by_row(cells)) > 1:
        rows = {cell["row"]: cell for cell in ranked}
        best = [rows[label] for label in by_row(trained)]
        name = "{row}: η {eta:g}, μ {mu:g}, seed {seed}"
    else:
        etas = {cell["eta"]: cell for cell in ranked}
        best = [etas[eta] for eta in sorted(etas)]
        name = "η {eta:g}, μ {mu:g}, seed {seed}"
    return compare_learning_curves({name.format(**cell): cell["curve"] for cell in best}, metric)


def seed_curves(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], metric: Metric, title: str = ""
) -> Figure:
    """Validation metric of named models over upper-level steps: a thin line per seed, and means.

    A mean ends with the shortest of its seeds. The legend counts the seeds. Over the seconds of
    training as well, where all seeds have them.

    Args:
      runs: for every name one dict per seed, with steps and validation, and perhaps seconds, as in
        report.json.
      metric: the objective that was trained.
      title: above the axes.
    """
    times = {"steps": "upper-level step", "seconds": "seconds of training"}
    if not all("seconds" in seed for seeds in runs.values() for seed in seeds):
        del times["seconds"]
    width = 1.5 + width_beside(runs) + 3.6 * (len(times) - 1)
    figure = Figure(figsize=(width, max(4.0, 1.2 + 0.24 * len(runs))), layout="constrained")
    panels = figure.subplots(1, len(times), sharey=True, squeeze=False)[0]
    for axes, (time, label) in zip(panels, times.items(), strict=True):
        _prepare(axes, label, f"validation {metric.label}", metric.scale)
        axes.label_outer()
        for (name, seeds), style in zip(runs.items(), curve_styles(), strict=False):
            _seeds_and_mean(axes, name, seeds, time, style)
    figure.suptitle(literal(title), wrap=True)
    _legend_beside(panels[-1], "mean; thin: each seed")
    return figure


def _seeds_and_mean(
    axes: Axes, name: str, seeds: Sequence[Mapping[str, Any]], time: str, style: dict[str, Any]
) -> None:
    thin = style | {"marker": "", "linewidth": 0.7, "alpha": 0.5}
    values = [np.asarray(seed["validation"], float) for seed in seeds]
    for seed, value in zip(seeds, values, strict=True):
        _line(axes, seed[time], value, **thin)
    mean = np.mean(list(zip(*values, strict=False)), axis=1)
    when = np.mean(list(zip(*(seed[time] for seed in seeds), strict=False)), axis=1)
    label = literal(f"{name}: {counted(len(seeds), 'seed')}")
    _line(axes, when, mean, label=label, **style)


def learned_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]], title: str = "") -> Figure:
    """Learned hyper-parameters of named models over upper-level steps, one line per seed.

    Args:
      runs: for every name one dict per seed, with steps and, under "learned", the values of each
        hyper-parameter, as in report.json.
      title: above the axes.

    Returns:
      A figure with one set of axes for every hyper-parameter that any run learned, on a log scale
      except for mu.
    """
    learned = list(dict.fromkeys(k for seeds in runs.values() for k in seeds[0]["learned"]))
    columns = min(3, len(learned))
    rows = -(-len(learned) // columns)
    size = (3.6 * (columns - 1) + width_beside(runs), max(3.6 * rows, 1.2 + 0.24 * len(runs)))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(learned) :]:
        axes.remove()
    for hyperparameter, axes in zip(learned, grid.flat, strict=False):
        yscale: AxisScale = "linear" if hyperparameter == "mu" else "log"
        _prepare(axes, "upper-level step", hyperparameter, yscale)
        for seeds, style in zip(runs.values(), curve_styles(), strict=False):
            for seed in seeds:
                if hyperparameter in seed["learned"]:
                    values = np.asarray(seed["learned"][hyperparameter], float)
                    _line(axes, seed["steps"], values, **style)
    figure.suptitle(literal(title), wrap=True)
    _name_lines_beside(grid[0, -1], runs)
    return figure


def flow_ratio_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]], title: str = "") -> Figure:
    """``max_t / min_t ||dl/dh_t||`` of named models over upper-level steps, one line per seed.

    What has no ratio, since a gradient underflows to 0 or overflows, is drawn on a line above all
    others.

    Args:
      runs: for every name one dict per seed, with steps and ratios under "gradient_flow", None for
        no ratio, as in report.json.
      title: above the axes.
    """
    size = (1.5 + width_beside(runs), max(4.0, 1.2 + 0.24 * len(runs)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    label = r"largest / smallest $\|\partial l / \partial h_t\|$ over t"
    _prepare(axes, "upper-level step", label, "log")
    flows = [[seed["gradient_flow"] for seed in seeds] for seeds in runs.values()]
    known = np.concatenate([np.asarray(flow["ratio"], float) for seeds in flows for flow in seeds])
    top = 10 * max([10.0, *known[np.isfinite(known)]])
    for seeds, style in zip(flows, curve_styles(), strict=False):
        for flow in seeds:
            ratios = np.asarray(flow["ratio"], float)
            _line(axes, flow["steps"], np.where(np.isfinite(ratios), ratios, top), **style)
    if not np.isfinite(known).all():
        axes.axhline(top, color="grey", linestyle=":", linewidth=1)
        beside = axes.get_yaxis_transform()
        axes.text(1, top, "infinite", transform=beside, ha="right", va="bottom")
    figure.suptitle(literal(title), wrap=True)
    _name_lines_beside(axes, runs)
    return figure


def _curve_axes(metric: Metric, width: float = 9.0) -> tuple[Figure, Axes, Axes]:
    figure = Figure(figsize=(width, 3.6), layout="constrained")
    loss_axes, metric_axes = figure.subplots(1, 2)
    _prepare(loss_axes, "epoch", f"loss ({metric.loss_unit})", metric.loss_scale)
    _prepare(metric_axes, "epoch", f"validation {metric.label}", metric.scale)
    return figure, loss_axes, metric_axes


def _prepare(axes: Axes, xlabel: str, ylabel: str, yscale: AxisScale) -> None:
    axes.set(xlabel=xlabel, ylabel=ylabel, yscale=yscale)
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def _legend_beside(axes: Axes, title: str, **options: Any) -> None:
    axes.legend(title=title, loc="upper left", bbox_to_anchor=(1, 1), frameon=False, **options)


def _name_lines_beside(axes: Axes, names: Iterable[str]) -> None:
    """A legend of the styles in which these are drawn, one line per seed."""
    named = zip(names, curve_styles(), strict=False)
    handles = [Line2D([], [], label=literal(name), markersize=4, **style) for name, style in named]
    _legend_beside(axes, "one line per seed", handles=handles)


def _curve(axes: Axes, epochs: Sequence[dict[str, Any]], name: str, **style: Any) -> None:
    _line(axes, [line["epoch"] for line in epochs], [line[name] for line in epochs], **style)


def _line(axes: Axes, x: _Times, y: Sequence[float] | np.ndarray, **style: Any) -> None:
    marker = {"marker": "o"} | style if len(x) < _MANY_POINTS else style
    axes.plot(x, y, **marker, **marker_spacing(len(x)))
