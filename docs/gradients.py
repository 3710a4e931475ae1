"""Draws gradients.png: how far back untrained recurrent cells send a gradient.

    python docs/gradients.py

Five draws of the weights of each cell, 128 hidden units, read 1,000 random numbers. ||dl/dh_t|| of
a linear read-out of the last output is divided by its value at the last step; the line is the
median of the draws, the band their range.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from matplotlib.figure import Figure

from sbo_jax import PAPER, STABLE, SBOCell
from sbo_jax.nn import cell_gradient_flow

NUM_STEPS, HIDDEN, NUM_DRAWS = 1000, 128, 5
LOWEST = 1e-12  # where the figure ends


def lstm(rngs: nnx.Rngs, forget_bias: float) -> nnx.OptimizedLSTMCell:
    """Flax's, with this bias of the forget gate (Flax starts it at 0)."""
    cell = nnx.OptimizedLSTMCell(1, HIDDEN, rngs=rngs)
    cell.dense_h.bias[...] = cell.dense_h.bias[...].at[HIDDEN : 2 * HIDDEN].set(forget_bias)
    return cell


CELLS: dict[str, tuple[Callable[[nnx.Rngs], nnx.Module], str]] = {
    "SBO-RNN, η = 1e-3 (PAPER)": (lambda rngs: SBOCell(1, HIDDEN, lower=PAPER, rngs=rngs), "C0--"),
    "SBO-RNN, η = s/L (STABLE)": (lambda rngs: SBOCell(1, HIDDEN, lower=STABLE, rngs=rngs), "C0-"),
    "LSTM, forget bias 6": (partial(lstm, forget_bias=6.0), "C1-"),
    "LSTM, forget bias 3": (partial(lstm, forget_bias=3.0), "C1:"),
    "LSTM, forget bias 1": (partial(lstm, forget_bias=1.0), "C1-."),
    "GRU": (lambda rngs: nnx.GRUCell(1, HIDDEN, rngs=rngs), "C2-"),
    "vanilla RNN": (lambda rngs: nnx.SimpleCell(1, HIDDEN, rngs=rngs), "C3--"),
}


def flow(make: Callable[[nnx.Rngs], nnx.Module], draw: int) -> np.ndarray:
    """||dl/dh_t|| against the steps back from the end, 1 at the last step."""
    cell = make(nnx.Rngs(draw))
    xs = jax.random.normal(jax.random.key(draw), (NUM_STEPS, 4, 1))
    options = {"select": lambda carry: carry.h} if isinstance(cell, SBOCell) else {}
    norms = jax.jit(partial(cell_gradient_flow, cell, **options))(xs)[::-1]
    return np.asarray(norms / norms[0])


def main() -> None:
    """Write the figure beside this file."""
    figure = Figure(figsize=(7.5, 3.4), layout="constrained", facecolor="white")
    axes = figure.subplots()
    steps = np.arange(NUM_STEPS)
    for name, (make, style) in CELLS.items():
        draws = np.maximum([flow(make, draw) for draw in range(NUM_DRAWS)], LOWEST / 10)
        (line,) = axes.loglog(steps + 1, np.median(draws, 0), style, label=name)
        axes.fill_between(steps + 1, draws.min(0), draws.max(0), color=line.get_color(), alpha=0.15)
        print(f"{name:28}", "  ".join(f"{draws[:, k].min():.1e}" for k in (10, 100, 999)))
    axes.set(xlim=(1, NUM_STEPS), ylim=(LOWEST, 1e3))
    axes.set(
        xlabel="time steps back from the loss",
        ylabel=r"$\|dl/dh_t\| / \|dl/dh_T\|$",
        title="before training",
    )
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=100)


if __name__ == "__main__":
    main()
