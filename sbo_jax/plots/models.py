"""Named models side by side: gradients through time, spectra, test results."""

import itertools
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from jaxtyping import Complex, Float
from matplotlib.figure import Figure

from .._types import AnyArray
from .styles import MARKERS, Metric, curve_styles, literal, marker_spacing, width_beside


def gradient_flow(norms: Mapping[str, Float[AnyArray, " time"]]) -> Figure:
    """``||dl/dh_t||`` against t = 0, 1, ... on a log scale, one curve per named model.

    The legend has the ratio of the largest to the smallest finite norm of every curve. Numbers that
    are not finite and positive leave a gap.
    """
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.subplots()
    for (name, values), style in zip(norms.items(), curve_styles(), strict=False):
        values = np.asarray(values)
        label = literal(f"{name}: largest / smallest {_ratio(values)}")
        values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
        steps = np.arange(len(values))
        axes.semilogy(steps, values, label=label, **style, **marker_spacing(len(values)))
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
    for (name, values), marker in zip(eigenvalues.items(), itertools.cycle(MARKERS), strict=False):
        values = np.asarray(values)
        label = literal(f"{name}: largest modulus {np.max(np.abs(values)):.4g}")
        axes.plot(values.real, values.imag, marker, fillstyle="none", label=label)
    reach = 1.1 * max(1.0, *(np.max(np.abs(values)) for values in eigenvalues.values()))
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.set(xlabel="real part (no unit)", ylabel="imaginary part (no unit)")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper left", frameon=False)
    return figure


def results(values: Mapping[str, Sequence[float]], metric: Metric, title: str = "") -> Figure:
    """Test metric of named models: a marker per seed, a line over their range, a tick at the mean.

    Args:
      values: for every name, one number per seed.
      metric: the objective that was trained.
      title: above the axes.
    """
    figure = Figure(figsize=(width_beside(values), 1.2 + 0.32 * len(values)), layout="constrained")
    axes = figure.subplots()
    for row, (runs, style) in enumerate(zip(values.values(), curve_styles(), strict=False)):
        axes.plot([min(runs), max(runs)], [row, row], color=style["color"], alpha=0.4)
        axes.plot(runs, [row] * len(runs), style["marker"], color=style["color"], fillstyle="none")
        axes.plot(np.mean(runs), row, "|", color=style["color"], markersize=14)
    axes.set_yticks(range(len(values)), [literal(name) for name in values])
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set(xlabel=f"test {metric.label}", xscale=metric.scale)
    figure.suptitle(literal(title), wrap=True)
    axes.grid(axis="x", alpha=0.3)
    return figure


def _ratio(values: np.ndarray) -> str:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "unknown"
    return f"{finite.max() / finite.min():.3g}" if finite.min() > 0 else "infinite: underflow"
