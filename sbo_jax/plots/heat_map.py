"""A sweep over eta and mu as coloured cells with their numbers."""

import itertools
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .styles import Metric, literal, readable_on
from .swept import by_row, eta_label

_ROWS_ABREAST = 3


def eta_heat_map(cells: Sequence[dict[str, Any]], metric: Metric) -> Figure:
    """Final validation metric over eta and mu, mean over seeds, from the lines of a sweep.

    Rows stand side by side, with the same colours. A line marks the bound 1/L at the initial
    parameters, "div." a cell without a finite loss; where only some seeds diverged, the mean is
    that of the others.

    Args:
      cells: dicts with eta, mu, eta_L, final and diverged, and row where there are several; see
        `runs.sweep`.
      metric: the objective that was trained.
    """
    rows, names = by_row(cells), ("eta", "mu")
    etas, mus = (sorted({cell[name] for cell in cells}) for name in names)
    abreast = min(len(rows), _ROWS_ABREAST)
    above = -(-len(rows) // abreast)
    width, height = 0.9 + 0.95 * len(etas), 1.9 + 0.75 * len(mus)
    size = (max(4.5, 1.7 + abreast * width), max(2.8, above * height))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(above, abreast, squeeze=False)
    means = {label: _means(row, etas, mus) for label, row in rows.items()}
    norm = _norm(np.stack(list(means.values())), metric)
    for axes, (label, row) in zip(grid.flat, rows.items(), strict=False):
        image = _image(axes, means[label], metric, norm)
        for place, group in _groups(row, etas, mus).items():
            _annotate(axes, image, place, group)
        axes.set_xticks(range(len(etas)), [f"{eta:g}" for eta in etas])
        axes.set_yticks(range(len(mus)), [f"{mu:g}" for mu in mus])
        axes.set(xlabel=eta_label(cells), ylabel="momentum μ (no unit)")
        axes.set_title(literal(label), pad=22 if label else None)
        bounds = [cell["eta"] / cell["eta_L"] for cell in row if cell["eta_L"] is not None]
        if bounds:
            _draw_bound(axes, etas, float(np.mean(bounds)))
    for axes in grid.flat[len(rows) :]:
        axes.remove()
    num_seeds = len({cell["seed"] for cell in cells})
    seeds = f"mean over {num_seeds} seeds" if num_seeds > 1 else "one seed"
    figure.colorbar(image, label=f"validation {metric.label},\n{seeds}", ax=figure.axes)
    return figure


def _groups(
    cells: Sequence[dict[str, Any]], etas: Sequence[float], mus: Sequence[float]
) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """The seeds of every place of the map."""
    return {
        (x, y): [cell for cell in cells if (cell["eta"], cell["mu"]) == (eta, mu)]
        for (x, eta), (y, mu) in itertools.product(enumerate(etas), enumerate(mus))
    }


def _means(
    cells: Sequence[dict[str, Any]], etas: Sequence[float], mus: Sequence[float]
) -> np.ndarray:
    means = np.full((len(mus), len(etas)), np.nan)
    for (x, y), group in _groups(cells, etas, mus).items():
        finals = [cell["final"] for cell in group if cell["final"] is not None]
        means[y, x] = np.mean(finals) if finals else np.nan
    return means


def _norm(means: np.ndarray, metric: Metric) -> Normalize:
    """A metric without limits, an error, has a log scale."""
    shown = means[np.isfinite(means) & (means > 0)]
    if metric.limits or not shown.size:
        return Normalize(*metric.limits or (0, 1))
    return LogNorm(shown.min() / 1.1, 1.1 * shown.max())


def _image(axes: Axes, means: np.ndarray, metric: Metric, norm: Normalize) -> Any:
    """Bright is good."""
    colours = "cividis" if metric.higher_is_better else "cividis_r"
    return axes.imshow(means, origin="lower", aspect="auto", cmap=colours, norm=norm)


def _annotate(
    axes: Axes, image: Any, place: tuple[int, int], group: Sequence[dict[str, Any]]
) -> None:
    x, y = place
    num_diverged = sum(cell["diverged"] for cell in group)
    text_color = mpl.rcParams["text.color"]
    if num_diverged == len(group):
        corner = (x - 0.5, y - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, hatch="///", ec=text_color, alpha=0.35))
        box = {"facecolor": mpl.rcParams["axes.facecolor"], "edgecolor": "none", "pad": 2}
        axes.text(x, y, "div.", ha="center", va="center", bbox=box)
        return
    note = f"\n{num_diverged} of {len(group)} div." if num_diverged else ""
    mean = float(image.get_array()[y, x])
    colour = readable_on(image.cmap(image.norm(mean)))
    axes.text(x, y, f"{mean:.3g}{note}", ha="center", va="center", color=colour)


def _draw_bound(axes: Axes, etas: Sequence[float], bound: float) -> None:
    """A line at `bound` between the columns, or an arrow if it lies beyond them."""
    logs = np.log10(etas)
    gaps = np.diff(logs) if len(etas) > 1 else np.ones(1)
    wide = np.concatenate([[logs[0] - gaps[0]], logs, [logs[-1] + gaps[-1]]])
    x = np.interp(np.log10(bound), wide, np.arange(-1, len(etas) + 1))
    label, inside = f"1/L = {bound:.2g}", -0.5 <= x <= len(etas) - 0.5
    if inside:
        for colour, width in ((mpl.rcParams["axes.facecolor"], 4), (mpl.rcParams["text.color"], 2)):
            axes.axvline(x, color=colour, linewidth=width, linestyle="-")
    else:
        label = f"← {label}" if x < 0 else f"{label} →"
    x = np.clip(x, -0.5, len(etas) - 0.5)
    where = axes.get_xaxis_transform()
    axes.text(x, 1.02, label, transform=where, ha="center", va="bottom")
