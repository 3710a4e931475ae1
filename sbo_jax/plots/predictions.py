"""What a model answered beside what is true: classes in a matrix, numbers along a line."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, PowerNorm
from matplotlib.figure import Figure

from .styles import literal, readable_on, shortened

_MOST_NUMBERS = 30  # classes whose counts are written into their cells
_MOST_NAMES = 60  # classes that all have their name on the axes
_MOST_PANELS = 9
_MANY_POINTS = 2000


def confusion(counts: Int[np.ndarray, "classes classes"], names: Sequence[str]) -> Figure:
    """How often each true class, a row, got each answer, a column; right answers on the diagonal.

    Colours are fractions of a row, so that rare classes count like others, on the scale of their
    square root, so that a few mistakes are seen. Up to 30 classes have
    their counts written in their cells; of more than 60, some have no name on the axes.

    Args:
      counts: ``counts[i, j]``: of the true class i, answered with j.
      names: of the classes.
    """
    number = len(names)
    shown = [literal(shortened(str(name))) for name in names]
    side = 1.6 + 0.075 * max(map(len, shown)) + max(2.2, min(0.28 * number, 12))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    norm = PowerNorm(0.5, vmin=0, vmax=1)
    image = axes.imshow(shares, cmap="cividis", norm=norm, interpolation="nearest")
    if number <= _MOST_NUMBERS:
        _write_counts(axes, counts, [[image.cmap(image.norm(x)) for x in row] for row in shares])
    ticks = range(0, number, -(-number // _MOST_NAMES))
    labels = [shown[tick] for tick in ticks]
    size = "medium" if number <= 20 else "small" if number <= 45 else "x-small"
    turned = 90 if max(map(len, shown)) > 3 else 0
    axes.set_xticks(ticks, labels, fontsize=size, rotation=turned)
    axes.set_yticks(ticks, labels, fontsize=size)
    axes.set(xlabel="answer", ylabel="true class")
    figure.colorbar(image, label="fraction of the true class", shrink=0.7)
    return figure


def predicted(
    true: Float[np.ndarray, "samples outputs"],
    answers: Float[np.ndarray, "samples outputs"],
    names: Sequence[str],
) -> Figure:
    """Predicted numbers against true ones, one set of axes an output; on the line all is right.

    More than 2,000 samples are counted in hexagons. Of more than nine outputs, the nine with the
    largest errors for their spread are shown.
    """
    shown = _least_explained(true, answers)
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3.6 * columns + 0.6, 3.4 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(shown) :]:
        axes.remove()
    for output, axes in zip(shown, grid.flat, strict=False):
        _against(axes, true[:, output], answers[:, output])
        axes.set(xlabel="true", ylabel="predicted")
        axes.set_title(literal(shortened(str(names[output]))), fontsize="medium")
    if len(shown) < len(names):
        figure.suptitle(f"the {len(shown)} of {len(names)} outputs that are off most")
    return figure


def _write_counts(axes: Axes, counts: np.ndarray, colours: Sequence[Sequence]) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = readable_on(colours[row][column])
            size = "medium" if len(counts) <= 12 else "x-small"
            axes.text(
                column, row, f"{count}", ha="center", va="center", color=colour, fontsize=size
            )


def _least_explained(true: np.ndarray, answers: np.ndarray) -> list[int]:
    """At most nine outputs, in their order: those whose errors are largest for their spread."""
    spread = np.maximum(true.std(axis=0), np.finfo(float).tiny)
    errors = np.sqrt(np.mean((answers - true) ** 2, axis=0)) / spread
    return sorted(np.argsort(-errors, kind="stable")[:_MOST_PANELS].tolist())


def _against(axes: Axes, true: np.ndarray, answers: np.ndarray) -> None:
    both = np.concatenate([true, answers])
    low, high = both.min(), both.max()
    margin = 0.04 * (high - low) or 0.5
    limits = (low - margin, high + margin)
    if len(true) > _MANY_POINTS:
        extent = (*limits, *limits)
        axes.hexbin(true, answers, gridsize=45, extent=extent, cmap="viridis", norm=LogNorm())
    else:
        axes.plot(true, answers, "o", markersize=4, alpha=0.6)
    axes.plot(limits, limits, "--", color=mpl.rcParams["text.color"], linewidth=1)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.locator_params(nbins=5)
    axes.ticklabel_format(scilimits=(-3, 4))
    axes.grid(alpha=0.3)
