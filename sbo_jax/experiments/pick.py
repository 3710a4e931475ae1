"""Options that an experiment picks on validation: tried with the first seed, fixed for the others.

Every row of a table then has its best value from the same grid at the same cost, and the test split
decides nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..training.objectives import OBJECTIVES
from .file import Cell, Experiment

Summary = Mapping[str, Any]


def trial_cells(experiment: Experiment) -> Sequence[Cell]:
    """The cells to run first: all, or those of the first seed if an option is to be picked."""
    if experiment.pick is None:
        return experiment.cells
    first = experiment.cells[0].config.run.seed
    return [cell for cell in experiment.cells if cell.config.run.seed == first]


def selected_cells(experiment: Experiment, summaries: Mapping[str, Summary]) -> Sequence[Cell]:
    """The cells that form a table: all seeds of every row, at the value picked for it.

    A row is left out while some of its values have not been tried, or if all of them diverged.

    Args:
      experiment: its cells.
      summaries: those of finished cells, by key.
    """
    if experiment.pick is None:
        return experiment.cells
    names = {best.name for cells in _trials(experiment) if (best := _best(cells, summaries))}
    return [cell for cell in experiment.cells if cell.name in names]


def reported_cells(
    experiment: Experiment, summaries: Mapping[str, Summary]
) -> tuple[Sequence[Cell], int]:
    """The cells of a table, and how many they will be: a row that is not picked yet has all seeds.

    A row whose trials all diverged is there with these.
    """
    if experiment.pick is None:
        return experiment.cells, len(experiment.cells)
    trials = _trials(experiment)
    lost = [cell for cells in trials if _all_diverged(cells, summaries) for cell in cells]
    selected = selected_cells(experiment, summaries)
    rows = {cell.row for cell in [*selected, *lost]}
    num_seeds = len({cell.config.run.seed for cell in experiment.cells})
    cells = [cell for cell in experiment.cells if cell in selected or cell in lost]
    return cells, len(cells) + (len(trials) - len(rows)) * num_seeds


def _trials(experiment: Experiment) -> Sequence[Sequence[Cell]]:
    """The trials of every row."""
    candidates: dict[str, list[Cell]] = {}
    for cell in trial_cells(experiment):
        candidates.setdefault(cell.row, []).append(cell)
    return [*candidates.values()]


def _all_diverged(cells: Sequence[Cell], summaries: Mapping[str, Summary]) -> bool:
    return all("stopped" in summaries.get(cell.key, {}) for cell in cells)


def _best(cells: Sequence[Cell], summaries: Mapping[str, Summary]) -> Cell | None:
    if any(cell.key not in summaries for cell in cells):
        return None
    ended = [cell for cell in cells if "stopped" not in summaries[cell.key]]
    if not ended:
        return None
    pick = max if OBJECTIVES[summaries[ended[0].key]["metric"]].higher_is_better else min
    return pick(ended, key=lambda cell: summaries[cell.key]["best_validation"])
