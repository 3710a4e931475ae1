"""What a metric costs: in parameters, and in training samples."""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import Bbox, BboxBase

from .styles import Metric, curve_styles, literal

_WIDE = 3.0  # of the largest to the smallest: from there on an axis of parameters is logarithmic
_LINE, _FONT_SIZE, _MARK = 24, 8.5, 7.0  # names: letters in a line, size; size of markers
# Where names may stand around their points, ring by ring; distances in points.
_GAP, _STEP, _RINGS, _DIRECTIONS = 5.0, 6.0, 30, 24
_NEIGHBOURS = 3


class Point(NamedTuple):
    """A network in `against_parameters`: its test metric, a value per seed."""

    name: str
    parameters: int
    values: Sequence[float]
    is_ours: bool
    is_published: bool = False

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def kind(self) -> str:
        network = "SBO-RNN" if self.is_ours else "other network"
        return f"{network}, {'published' if self.is_published else 'here'}"

    @property
    def style(self) -> dict[str, Any]:
        """Colour and marker say whose network it is; published ones are hollow."""
        style: dict[str, Any] = {"color": "C0" if self.is_ours else "C1", "linestyle": ""}
        style |= {"marker": "o" if self.is_ours else "s", "zorder": 4 if self.is_ours else 3}
        page = mpl.rcParams["axes.facecolor"]
        return style | {"markerfacecolor" if self.is_published else "markeredgecolor": page}


def against_parameters(points: Sequence[Point], metric: Metric, title: str = "") -> Figure:
    """Test metric against the number of parameters, every point with its name.

    A point is the mean over seeds, a line the standard deviation.

    Args:
      points: one or more.
      metric: the objective that was trained.
      title: above the axes.
    """
    figure = Figure(figsize=(9.5, 6.5), layout="constrained")
    axes = figure.subplots()
    for point in points:
        at = point.parameters, point.mean
        axes.errorbar(*at, _deviation(point.values), color=point.style["color"], alpha=0.35)
        axes.plot(*at, **point.style, label=point.kind, markersize=7)
    axes.set(xlabel="parameters", yscale=metric.scale)
    axes.set_ylabel(f"test {metric.label}: mean and deviation over seeds")
    _count_axis(axes, [point.parameters for point in points])
    axes.margins(0.12)
    axes.grid(alpha=0.3)
    handles = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    in_order = sorted(points, key=lambda point: (point.is_published, not point.is_ours))
    kinds = list(dict.fromkeys(point.kind for point in in_order))
    shown = [handles[kind] for kind in kinds]
    figure.legend(shown, kinds, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(literal(title), wrap=True)
    _name_points(axes, points)
    return figure


def against_fraction(
    runs: Mapping[str, Mapping[float, Sequence[float]]], metric: Metric, title: str = ""
) -> Figure:
    """Test metric of named models against the fraction of the training samples, on a log scale.

    A point is the mean over seeds, a bar the standard deviation; points of one fraction stand a
    little apart.

    Args:
      runs: for every name, by fraction in (0, 1], a value per seed.
      metric: the objective that was trained.
      title: above the axes.
    """
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for index, (name, style) in enumerate(zip(runs, curve_styles(), strict=False)):
        fractions, values = zip(*sorted(runs[name].items()), strict=True)
        x = np.array(fractions) * 1.02 ** (index - (len(runs) - 1) / 2)
        means = [float(np.mean(seeds)) for seeds in values]
        deviations = [_deviation(seeds) for seeds in values]
        axes.errorbar(x, means, deviations, label=literal(name), capsize=2, markersize=5, **style)
    ticks = sorted({fraction for values in runs.values() for fraction in values})
    axes.set(xscale="log", yscale=metric.scale, ylabel=f"test {metric.label}")
    axes.set_xlabel("part of the training samples")
    axes.set_xticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    axes.legend(title="mean and deviation", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    figure.suptitle(literal(title), wrap=True)
    return figure


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _count_axis(axes: Axes, counts: Sequence[int]) -> None:
    if max(counts) > _WIDE * min(counts):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))


def _name_points(axes: Axes, points: Sequence[Point]) -> None:
    """Each name beside its point, joined to it by a line."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()  # for the size of the axes, which names are kept out of
    pixels = figure.dpi / 72
    centres = np.array([axes.transData.transform((p.parameters, p.mean)) for p in points])
    marks = [_box(centre, np.full(2, _MARK * pixels)) for centre in centres]
    names = _Names(marks, axes.bbox, pixels)
    style: dict[str, Any] = {"fontsize": _FONT_SIZE, "ha": "center", "va": "center"}
    line = {"arrowstyle": "-", "color": "grey", "linewidth": 0.6, "shrinkB": 4}
    for index in _most_crowded_first(centres):
        text = axes.text(0, 0, literal(textwrap.fill(points[index].name, _LINE)), **style)
        aside = names.place(centres[index], np.array(text.get_window_extent().size))
        text.remove()
        axes.annotate(
            text.get_text(),
            (points[index].parameters, points[index].mean),
            tuple(aside / pixels),
            textcoords="offset points",
            in_layout=False,
            zorder=2,  # its line, below the markers
            arrowprops=line,
            **style,
        )


def _most_crowded_first(centres: np.ndarray) -> list[int]:
    """Indices of points: those with the nearest neighbours choose the places of their names."""
    distances = np.linalg.norm(centres[:, None] - centres, axis=-1)
    nearest = np.sort(distances)[:, 1 : 1 + _NEIGHBOURS].sum(axis=-1)
    return [int(index) for index in np.argsort(nearest, kind="stable")]


class _Names:
    """Names on a page that keep clear of marks and of each other; all in pixels."""

    def __init__(self, marks: Sequence[Bbox], page: BboxBase, pixels: float):
        self._marks, self._page, self._pixels = marks, page, pixels
        self._boxes: list[Bbox] = []
        self._lines: list[Path] = []

    def place(self, centre: np.ndarray, size: np.ndarray) -> np.ndarray:
        """From a point to the centre of its name: the nearest place where lines cross nothing.

        Where every free place has crossing lines, the nearest free one.
        """
        places = list(_asides(size, self._pixels))
        free = [aside for aside in places if self._is_free(_box(centre + aside, size))]
        clear = (aside for aside in free if not self._crosses(centre, aside, size))
        aside = next(clear, (free or places)[0])
        self._boxes.append(_box(centre + aside, size))
        self._lines.append(Path([centre, centre + aside]))
        return aside

    def _is_free(self, box: Bbox) -> bool:
        page = self._page
        inside = page.x0 <= box.x0 and page.y0 <= box.y0 and box.x1 <= page.x1 and box.y1 <= page.y1
        return bool(inside) and not box.count_overlaps([*self._marks, *self._boxes])

    def _crosses(self, centre: np.ndarray, aside: np.ndarray, size: np.ndarray) -> bool:
        line, box = Path([centre, centre + aside]), _box(centre + aside, size)
        return any(
            line.intersects_bbox(name) or other.intersects_bbox(box) or line.intersects_path(other)
            for name, other in zip(self._boxes, self._lines, strict=True)
        )


def _asides(size: np.ndarray, pixels: float) -> Iterator[np.ndarray]:
    """Ring by ring, right and left first."""
    angles = sorted(
        (2 * math.pi * k / _DIRECTIONS for k in range(_DIRECTIONS)),
        key=lambda angle: (round(abs(math.sin(angle)), 6), -math.cos(angle)),
    )
    for ring in range(_RINGS):
        reach = size / 2 + (_GAP + ring * _STEP) * pixels
        for angle in angles:
            yield reach * (math.cos(angle), math.sin(angle))


def _box(centre: np.ndarray, size: np.ndarray) -> Bbox:
    return Bbox([centre - size / 2, centre + size / 2])
