"""Training with free hidden states: its accuracy and its memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_MARKERS = {"bptt": "o", "bptt, rematerialised": "s", "penalty": "^", "lagrangian": "D", "bcd": "v"}
_COLOURS = {name: f"C{index}" for index, name in enumerate(_MARKERS)}


def relaxations(rows: Sequence[dict[str, Any]]) -> Figure:
    """Accuracy of the tanh network against lambda, relaxed and true; memory against T.

    Args:
      rows: the lines of `benchmark.py relaxations` after the first.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    accuracy, memory = figure.subplots(1, 2)
    _draw_accuracy(accuracy, [r for r in rows if r["kind"] == "accuracy" and r["model"] == "tanh"])
    _draw_memory(memory, [r for r in rows if r["kind"] == "memory"])
    for axes in (accuracy, memory):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return figure


def _draw_accuracy(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    for training in ("penalty", "lagrangian"):
        own = [r for r in rows if r["training"] == training and r["penalty"] and not r["stopped"]]
        lams = sorted({r["penalty"] for r in own})
        means = {
            name: [
                np.mean([r[f"{name}_metric"] for r in own if r["penalty"] == lam]) for lam in lams
            ]
            for name in ("relaxed", "true")
        }
        style: dict[str, Any] = {"marker": _MARKERS[training], "color": _COLOURS[training]}
        for (name, values), dash in zip(means.items(), ("--", "-"), strict=True):
            axes.plot(lams, values, linestyle=dash, label=f"{training}, {name}", **style)
        axes.fill_between(
            lams, means["relaxed"], means["true"], color=_COLOURS[training], alpha=0.12
        )
    reference = float(np.mean([r["test"] for r in rows if r["training"] == "bptt"]))
    axes.axhline(reference, color=_COLOURS["bptt"], linestyle=":", label="bptt (test)")
    axes.set(
        xscale="log", xlabel="penalty λ", ylabel="training accuracy, last epoch", ylim=(0, 1.05)
    )


def _draw_memory(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    for name, marker in _MARKERS.items():
        points = [(r["length"], r["temp_mib"]) for r in rows if r["training"] == name]
        axes.loglog(*zip(*points, strict=True), f"{marker}-", color=_COLOURS[name], label=name)
    axes.set(xlabel="time steps T", ylabel="temporary memory of a training step (MiB)")
