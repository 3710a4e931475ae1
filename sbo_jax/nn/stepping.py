"""A layer that reads a sequence one time step at a time, whatever it reads by."""

from typing import Any

from ..rollouts.reading import step_by_step
from .carries import carries
from .causal import is_causal
from .layer import SBORNN
from .lower_report import damped_cells


def check_steps(rnn: Any, advice: str) -> None:
    """ValueError for a layer that needs the whole sequence at once."""
    if not (is_causal(rnn) and carries(rnn)):
        name = type(rnn).__name__
        how = f" with {type(rnn.rollout).__name__}" if isinstance(rnn, SBORNN) else ""
        raise ValueError(
            f"expected a layer that reads one step at a time, got {name}{how}, which needs the "
            f"whole sequence; try {advice}"
        )


def resolve(rnn: Any) -> None:
    """Fix what depends on parameters alone, in place: no step computes the bound L."""
    for cell, damping in damped_cells(rnn):
        cell.fix_hyperparameters(damping)
    if isinstance(rnn, SBORNN):
        rnn.rollout = step_by_step(rnn.rollout)
