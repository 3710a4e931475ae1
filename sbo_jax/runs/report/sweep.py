"""What a sweep leaves: its cells, the best of every row, and pictures of them."""

import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..._words import counted
from ...disk.text import Json, replace_text
from ...training.fit_many import SweepEpoch
from ...training.objectives import Objective
from ..config.registry import NORMALISED
from ..folder.run_folder import RunFolder
from ..sweep import PreparedSweep, cell_reports
from .markdown import table
from .pictures import draw

_INSTALL = "try pip install -e '.[reports]', then repeat with --out and --resume"

Trained = Sequence[tuple[PreparedSweep, Sequence[SweepEpoch]]]


def write_sweep(folder: RunFolder, trained: Trained) -> list[Json]:
    """Write what is known of the rows that were trained, and draw it; returns all cells."""
    reports = [cell_reports(row, epochs) for row, epochs in trained]
    cells = list(itertools.chain(*reports))
    for cell in cells:
        folder.append_line("cells.jsonl", cell)
    known = [(row, cells) for (row, epochs), cells in zip(trained, reports, strict=True) if epochs]
    if known:
        _write_report(folder, known)
    return cells


def _write_report(folder: RunFolder, known: Sequence[tuple[PreparedSweep, Sequence[Json]]]) -> None:
    first = known[0][0].first
    metric, rows = first.objective, [row_report(row, cells) for row, cells in known]
    kind = known[0][0].config.eta_kind
    about = {"task": first.task.name, "metric": metric.metric_name, "eta_kind": kind}
    folder.write_json("report.json", {**about, "rows": rows})
    cells = [cell for _, cells in known for cell in cells]
    shown = [
        draw(folder.path / "heat_map.png", lambda plots: plots.eta_heat_map(cells, metric)),
        draw(folder.path / "curves.png", lambda plots: plots.sweep_curves(cells, metric)),
    ]
    title = f"Sweep: {first.task.name}"
    page = _write_page(folder.path / "report.html", cells, metric, title)
    text = [f"# {title}", _told(rows, metric, kind), page, *shown]
    replace_text(folder.path / "report.md", "\n\n".join(text) + "\n")


def _write_page(path: Path, cells: Sequence[Json], metric: Objective, title: str) -> str:
    """Write the page that can be hovered, or say what is missing; returns the line about it."""
    try:
        from ... import plots

        replace_text(path, plots.sweep_page(cells, metric, title))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "plotly":
            raise
        missing = f"{path.name} needs plotly, which is not installed; {_INSTALL}"
        print(missing, file=sys.stderr)
        return f"{missing}."
    return f"[{path.name}]({path.name}) shows the numbers under the pointer."


def row_report(row: PreparedSweep, cells: Sequence[Json]) -> Json:
    """One row: its size, its diverged cells, and the eta and mu that are best over all seeds.

    They are None where no pair is without a diverged cell.
    """
    pick = max if row.first.objective.higher_is_better else min
    pairs = _means(cells)
    best = pick(pairs, key=lambda pair: pairs[pair]) if pairs else None
    return {
        "row": row.label,
        **row.tells_apart,
        "parameters": row.first.num_parameters,
        "cells": len(cells),
        "diverged": sum(cell["diverged"] for cell in cells),
        "best_eta": best and best[0],
        "best_mu": best and best[1],
        "validation": best and pairs[best],
    }


def _means(cells: Sequence[Json]) -> Mapping[tuple[float, float], float]:
    """By (eta, mu), the final validation metric of those whose seeds all stayed finite."""
    pairs: dict[tuple[float, float], list[Any]] = {}
    for cell in cells:
        pairs.setdefault((cell["eta"], cell["mu"]), []).append(cell["final"])
    return {pair: float(np.mean(xs)) for pair, xs in pairs.items() if None not in xs}


def _told(rows: Sequence[Json], metric: Objective, kind: str) -> str:
    """The table of the rows."""
    eta = "eta in units of 1/L" if kind in NORMALISED else "eta"
    head = ["row", "parameters", eta, "mu", f"validation {metric.metric_name}", "diverged cells"]
    names = ("parameters", "best_eta", "best_mu", "validation")
    lines: list[list[Any]] = [
        [
            row["row"] or "all",
            *(row[name] for name in names),
            f"{row['diverged']} of {row['cells']}",
        ]
        for row in rows
    ]
    explained = (
        f"{counted(len(rows), 'row')}. Of each, the eta and mu whose final validation metric, mean "
        f"over seeds, is best; a pair with a diverged cell does not count."
    )
    return f"{explained}\n\n{table(head, lines)}".strip()
