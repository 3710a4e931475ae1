"""What figures share: how curves look, and what they ask of a metric."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_rgb

from .._types import AxisScale

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", ":")


@runtime_checkable
class Metric(Protocol):
    """How to show a metric and its loss; a `training.objectives.Objective` knows it."""

    @property
    def label(self) -> str: ...

    @property
    def loss_unit(self) -> str: ...

    @property
    def higher_is_better(self) -> bool: ...

    @property
    def scale(self) -> AxisScale: ...

    @property
    def loss_scale(self) -> AxisScale: ...

    @property
    def limits(self) -> tuple[float, float] | None: ...


def curve_styles() -> Iterator[dict[str, Any]]:
    """Dash, marker and colour for one curve after another; the first 28 pairs all differ."""
    for index in itertools.count():
        yield {
            "linestyle": _DASHES[index % len(_DASHES)],
            "marker": MARKERS[index % len(MARKERS)],
            "color": f"C{index % 10}",
        }


def marker_spacing(num_points: int) -> dict[str, Any]:
    return {"markevery": max(1, num_points // 12), "markersize": 4}


def width_beside(names: Iterable[str]) -> float:
    """The width of a figure, in inches, that leaves its axes wide enough beside these names."""
    return max(7.5, 5 + 0.085 * max(map(len, names), default=0))


def readable_on(colour: Sequence[float]) -> Any:
    """The page's text or background colour, whichever contrasts more with `colour`."""

    def luminance(colour: Any) -> float:
        return float(np.dot(to_rgb(colour), (0.2126, 0.7152, 0.0722)))

    candidates = (mpl.rcParams["text.color"], mpl.rcParams["axes.facecolor"])
    return max(candidates, key=lambda page: abs(luminance(page) - luminance(colour[:3])))


def literal(name: str) -> str:
    """The name for Matplotlib, which draws it letter by letter.

    Dollar signs would make mathematics of it, and a legend leaves out what begins with "_"; a space
    without width then stands before it.
    """
    escaped = name.replace("$", r"\$")
    return f"\u200b{escaped}" if escaped.startswith("_") else escaped


def shortened(name: str, length: int = 32) -> str:
    """The name, or its beginning and an ellipsis, in at most so many letters."""
    return name if len(name) <= length else f"{name[: length - 1]}…"
