"""Pictures of a run, where matplotlib is there to draw them.

It is an extra, and takes half a second to import, which a run that is refused should not.
"""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ...disk.text import Json, replace_bytes
from ...training.objectives import OBJECTIVES

_MISSING = "matplotlib, which is not installed; `pip install matplotlib`, then repeat with --resume"


def draw_curves(folder: Path, summary: Json) -> str:
    """Write curves.png, if there is an epoch to draw; returns the line of Markdown for it."""
    metrics = folder / "metrics.jsonl"
    if not metrics.exists():
        return ""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    metric, best = OBJECTIVES[summary["metric"]], summary["best_epoch"]
    return draw(folder / "curves.png", lambda plots: plots.learning_curves(lines, metric, best))


def draw(path: Path, figure_of: Callable[[ModuleType], Any]) -> str:
    """Write a figure of `plots`, or say what is missing; returns the line of Markdown for it."""
    try:
        from ... import plots
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        return f"{path.name} needs {_MISSING}."
    replace_bytes(path, plots.png(figure_of(plots)))
    return f"![{path.stem}]({path.name})"
