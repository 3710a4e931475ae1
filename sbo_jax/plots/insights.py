"""A look inside a trained run: its states, its time scales, and what its answers look at.

A run is what `sbo_jax.load` returns; this room knows no more of it than the arrays that its methods
return.
"""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .styles import curve_styles, literal, marker_spacing, shortened

_MOST_NAMED = 8  # features that a legend names
_MOST_ROWS = 40  # features that a heat map names


def hidden_states(run: Any, sequence: Any) -> Figure:
    """One sequence, and below it the hidden state after every step, a row a unit.

    Args:
      run: a trained run, as `sbo_jax.load` returns it.
      sequence: ``[T, features]``, one sequence as it is, in the unit of the data.
    """
    states = run.hidden_states(sequence)
    figure, above, below = _two_panels()
    _draw_sequence(above, run, sequence)
    reach = float(np.nanmax(np.abs(states))) or 1.0
    image = _image(below, states, cmap="RdBu_r", vmin=-reach, vmax=reach)
    below.set(xlabel="time step", ylabel="hidden unit")
    below.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(image, ax=below, label="hidden state (no unit)")
    return figure


def saliency(run: Any, sequence: Any, answer: Any = None, *, step: int | None = None) -> Figure:
    """One sequence, and below it how much each of its numbers would move the answer.

    The answer is by default that of the run, or the first of several numbers, at the last step.

    Args:
      run: a trained run, as `sbo_jax.load` returns it.
      sequence: ``[T, features]``, one sequence as it is, in the unit of the data.
      answer: another class, by name, or another of the predicted numbers, counted from 0.
      step: of a run that answers at every step, the step whose answer is meant.
    """
    values = run.saliency(sequence, answer, step=step)
    figure, above, below = _two_panels()
    _draw_sequence(above, run, sequence)
    image = _image(below, values, cmap="viridis", vmin=0)
    names = _feature_names(run, values.shape[1])
    if len(names) <= _MOST_ROWS:
        below.set_yticks(range(len(names)), names)
    below.set(xlabel="time step", ylabel="feature")
    what = "number" if run.classes is None else "logit"
    figure.colorbar(image, ax=below, label=f"|change of the {what}|\nper std of the feature")
    figure.suptitle(literal(_asked(run, sequence, answer, step)))
    return figure


def time_scales(run: Any) -> Figure:
    """Eta of every hidden unit after training, and the time steps in which the unit moves.

    Args:
      run: a trained run, as `sbo_jax.load` returns it.
    """
    scales = run.time_scales()
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    panels = figure.subplots(1, 2)
    labels = ("eta (no unit)", "time scale (time steps)")
    for axes, values, label in zip(panels, scales, labels, strict=True):
        for layer, (units, style) in enumerate(zip(values, curve_styles(), strict=False), 1):
            axes.semilogy(units, label=f"layer {layer}", **style, **marker_spacing(len(units)))
        axes.set(xlabel="hidden unit", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    longest = run.content["model"]["length"]
    text = f"longest sequence: {longest}"
    panels[1].axhline(longest, color=mpl.rcParams["text.color"], linestyle=":", label=text)
    panels[1].legend(frameon=False)
    return figure


def _two_panels() -> tuple[Figure, Axes, Axes]:
    figure = Figure(figsize=(8.5, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    return figure, above, below


def _draw_sequence(axes: Axes, run: Any, sequence: Any) -> None:
    """The features, scaled, so that different units share an axis."""
    raw = np.asarray(sequence)  # a mark in the type that it is looked for in
    values = np.where(run.reading.gaps.among(raw), np.nan, raw.astype(np.float64))  # stays blank
    scaled = (values - run.scaler.mean) / run.scaler.std
    names = _feature_names(run, scaled.shape[1])
    for feature, name, style in zip(scaled.T, names, curve_styles(), strict=False):
        (line,) = axes.plot(feature, style["linestyle"], color=style["color"], linewidth=1)
        line.set_label(name)
    axes.set_ylabel("input\n(std of the feature)")
    axes.grid(alpha=0.3)
    if len(names) <= _MOST_NAMED:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(names), frameon=False)


def _feature_names(run: Any, number: int) -> list[str]:
    return [literal(shortened(str(name), 16)) for name in run.features or range(number)]


def _image(axes: Axes, values: np.ndarray, **options: Any) -> Any:
    """Values [T, rows] over time; what is not a number stays blank."""
    image = axes.imshow(values.T, aspect="auto", interpolation="nearest", **options)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return image


def _asked(run: Any, sequence: Any, answer: Any, step: int | None) -> str:
    """What the gradient is of."""
    predicted = run.predict([sequence])[0]
    if run.answering.per_step:
        last = len(predicted) - 1
        step = last if step is None else step % len(predicted)
        predicted, where = predicted[step], f", at step {step}"
    else:
        where = ""
    if run.classes is None:
        return f"what moves number {answer or 0}{where}"
    if answer is None or answer == predicted:
        return f"what moves the answer {predicted}{where}"
    return f"what moves {answer}, where the answer is {predicted}{where}"
