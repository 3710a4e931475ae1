"""Options that an experiment picks on validation: tried with the first seed, kept for the others.

Every row of a table then has the value that suits it, found on one grid at one price, and no number
of the test split decides anything.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..training.objectives import OBJECTIVES
from .file import Cell, Experiment

Summary = Mapping[str, Any]


def trial_cells(experiment: Experiment) -> Sequence[Cell]:
    """The cells to run first: all, or where an option is to be picked those of the first seed."""
    if experiment.pick is None:
        return experiment.cells
    first = experiment.cells[0].config.seed
    return [cell for cell in experiment.cells if cell.config.seed == first]


def selected_cells(experiment: Experiment, summaries: Mapping[str, Summary]) -> Sequence[Cell]:
    """The cells that a table is made of: all seeds of every row, at the value picked for it.

    A row is left out while some of its values have not been tried, or where all of them diverged.

    Args:
      experiment: its cells.
      summaries: what is known of finished cells, by key.
    """
    if experiment.pick is None:
        return experiment.cells
    candidates: dict[str, list[Cell]] = {}
    for cell in trial_cells(experiment):
        candidates.setdefault(cell.row, []).append(cell)
    names = {best.name for cells in candidates.values() if (best := _best(cells, summaries))}
    return [cell for cell in experiment.cells if cell.name in names]


def _best(cells: Sequence[Cell], summaries: Mapping[str, Summary]) -> Cell | None:
    if any(cell.key not in summaries for cell in cells):
        return None
    ended = [cell for cell in cells if "stopped" not in summaries[cell.key]]
    best = None
    for cell in ended:
        summary = summaries[cell.key]
        better = OBJECTIVES[summary["metric"]].better
        if best is None or better(
            summary["best_validation"], summaries[best.key]["best_validation"]
        ):
            best = cell
    return best
