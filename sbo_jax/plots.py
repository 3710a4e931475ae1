"""Figures of what training, sweeps and stability reports say; matplotlib is imported here alone.

Lines differ in dash and marker as well as in colour and cells carry their number, so that a figure
can be read without colour. Colours of text and axes are matplotlib's, for a light or a dark page:
``import matplotlib.style``, ``with matplotlib.style.context("dark_background"): ...``. Figures are
returned and never shown; a notebook shows them after ``%matplotlib inline``.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Complex, Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ._types import AnyArray

_METRIC_LABELS = {
    "accuracy": "validation accuracy (fraction)",
    "mse": "validation MSE",
    "perplexity": "validation perplexity",
}
_LOSS_UNITS = {"accuracy": "nats", "mse": "squared error", "perplexity": "nats per word"}
_DASHES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
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
    for (name, epochs), style in zip(runs.items(), _styles(), strict=False):
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


def eta_heat_map(cells: Sequence[dict[str, Any]]) -> Figure:
    """Final validation metric over eta and mu, mean over seeds, from the lines of a sweep.

    The bound 1/L at the initial parameters is drawn at its place between the etas. "div." marks
    cells without a finite loss; where only some seeds diverged, the mean is that of the others.

    Args:
      cells: dicts with eta, mu, eta_L, metric, final and diverged, see `training.sweep`.
    """
    etas, mus = (sorted({cell[name] for cell in cells}) for name in ("eta", "mu"))
    size = (max(4.5, 2.6 + 0.95 * len(etas)), max(2.8, 1.9 + 0.75 * len(mus)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    groups = {
        (x, y): [cell for cell in cells if (cell["eta"], cell["mu"]) == (eta, mu)]
        for (x, eta), (y, mu) in itertools.product(enumerate(etas), enumerate(mus))
    }
    means = np.full((len(mus), len(etas)), np.nan)
    for (x, y), group in groups.items():
        finals = [cell["final"] for cell in group if cell["final"] is not None]
        means[y, x] = np.mean(finals) if finals else np.nan
    image = _image(axes, means, cells[0]["metric"])
    for place, group in groups.items():
        _annotate(axes, image, place, group)
    axes.set_xticks(range(len(etas)), [f"{eta:g}" for eta in etas])
    axes.set_yticks(range(len(mus)), [f"{mu:g}" for mu in mus])
    axes.set(xlabel="lower-level step size η (no unit)", ylabel="momentum μ (no unit)")
    num_seeds = len({cell["seed"] for cell in cells})
    seeds = f"mean over {num_seeds} seeds" if num_seeds > 1 else "one seed"
    figure.colorbar(image, label=f"{_METRIC_LABELS[cells[0]['metric']]},\n{seeds}")
    bounds = [cell["eta"] / cell["eta_L"] for cell in cells if cell["eta_L"] is not None]
    if bounds:
        _draw_bound(axes, etas, float(np.mean(bounds)))
    return figure


def gradient_flow(norms: Mapping[str, Float[AnyArray, " time"]]) -> Figure:
    """``||dl/dh_t||`` against t = 0, 1, ... on a log scale, one curve per named model.

    The legend has the largest over the smallest finite norm of every curve. A norm of zero, as any
    number that is not finite and positive, leaves a gap.
    """
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.subplots()
    for (name, values), style in zip(norms.items(), _styles(), strict=False):
        values = np.asarray(values)
        label = f"{name}: largest / smallest {_ratio(values)}"
        values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
        steps = np.arange(len(values))
        axes.semilogy(steps, values, label=label, **style, **_marker_spacing(len(values)))
    axes.set(xlabel="time step t", ylabel=r"$\|\partial l / \partial h_t\|$ (loss per unit of h)")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper left", frameon=False)
    return figure


def spectrum(eigenvalues: Mapping[str, Complex[AnyArray, " number"]]) -> Figure:
    """Eigenvalues of the Jacobians of named models in the complex plane, with the unit circle."""
    figure = Figure(figsize=(5.2, 5.6), layout="constrained")
    axes = figure.subplots()
    angles = np.linspace(0, 2 * np.pi, 400)
    text_color = mpl.rcParams["text.color"]
    axes.plot(np.cos(angles), np.sin(angles), "--", color=text_color, label="unit circle")
    for (name, values), marker in zip(eigenvalues.items(), itertools.cycle(_MARKERS), strict=False):
        values = np.asarray(values)
        label = f"{name}: largest modulus {np.max(np.abs(values)):.4g}"
        axes.plot(values.real, values.imag, marker, fillstyle="none", label=label)
    reach = 1.1 * max(1.0, *(np.max(np.abs(values)) for values in eigenvalues.values()))
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.set(xlabel="real part (no unit)", ylabel="imaginary part (no unit)")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper left", frameon=False)
    return figure


def results(values: Mapping[str, Sequence[float]], metric: str, title: str = "") -> Figure:
    """Test metric of named models: a marker per seed, a line over their range, a tick at the mean.

    Args:
      values: of every name, one number per seed.
      metric: "accuracy", or "mse" or "perplexity", which get a log scale.
      title: above the axes.
    """
    figure = Figure(figsize=(7.5, 1.2 + 0.32 * len(values)), layout="constrained")
    axes = figure.subplots()
    for row, (runs, style) in enumerate(zip(values.values(), _styles(), strict=False)):
        axes.plot([min(runs), max(runs)], [row, row], color=style["color"], alpha=0.4)
        axes.plot(runs, [row] * len(runs), style["marker"], color=style["color"], fillstyle="none")
        axes.plot(np.mean(runs), row, "|", color=style["color"], markersize=14)
    axes.set_yticks(range(len(values)), list(values))
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set(xlabel=f"test {_METRIC_LABELS[metric].removeprefix('validation ')}", title=title)
    if metric != "accuracy":
        axes.set_xscale("log")
    axes.grid(axis="x", alpha=0.3)
    return figure


def _styles() -> Iterator[dict[str, Any]]:
    """Dash, marker and colour of one curve after another; the first 28 pairs all differ."""
    for index in itertools.count():
        yield {
            "linestyle": _DASHES[index % len(_DASHES)],
            "marker": _MARKERS[index % len(_MARKERS)],
            "color": f"C{index % 10}",
        }


def _marker_spacing(num_points: int) -> dict[str, Any]:
    return {"markevery": max(1, num_points // 12), "markersize": 4}


def _curve_axes(metric: str) -> tuple[Figure, Axes, Axes]:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss_axes, metric_axes = figure.subplots(1, 2)
    loss_axes.set(xlabel="epoch", ylabel=f"loss ({_LOSS_UNITS[metric]})", yscale="log")
    metric_axes.set(xlabel="epoch", ylabel=_METRIC_LABELS[metric])
    if metric != "accuracy":
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
        **_marker_spacing(len(epochs)),
    )


def _image(axes: Axes, means: np.ndarray, metric: str) -> Any:
    """Bright is good: accuracy from 0 to 1, errors on a log scale."""
    finite = means[np.isfinite(means)]
    if metric == "accuracy" or not finite.size:
        norm, colours = Normalize(0, 1), "cividis"
    else:
        norm, colours = LogNorm(finite.min() / 1.1, 1.1 * finite.max()), "cividis_r"
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
    colour = _readable_on(image.cmap(image.norm(mean)))
    axes.text(x, y, f"{mean:.3g}{note}", ha="center", va="center", color=colour)


def _readable_on(colour: Sequence[float]) -> Any:
    """The page's text or background colour, whichever stands out more from `colour`."""

    def luminance(colour: Any) -> float:
        return float(np.dot(to_rgb(colour), (0.2126, 0.7152, 0.0722)))

    candidates = (mpl.rcParams["text.color"], mpl.rcParams["axes.facecolor"])
    return max(candidates, key=lambda page: abs(luminance(page) - luminance(colour[:3])))


def _draw_bound(axes: Axes, etas: Sequence[float], bound: float) -> None:
    """A line at the place of `bound` between the columns, or an arrow where it is beyond them."""
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


def _ratio(values: np.ndarray) -> str:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "unknown"
    return f"{finite.max() / finite.min():.3g}" if finite.min() > 0 else "infinite: underflow"
