"""The files that `benchmark.py run` writes beside the runs of an experiment.

OUT/report.md     the table
OUT/report.png    test metric, a marker per seed
OUT/curves.png    validation metric over upper-level steps
OUT/learned.png   learned hyper-parameters over upper-level steps
OUT/report.json   the numbers of the figures, to redraw them from
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from .. import plots
from ..disk.text import staged
from ..training.learn_hyper import NAMES
from ..training.objectives import OBJECTIVES
from .protocols import HEADS, joint_intervals
from .table import Line, made_with, markdown, rows


class _Epoch(msgspec.Struct):
    """The fields of a line of metrics.jsonl that a curve needs."""

    step: int
    validation: float


def write_report(folder: Path, title: str, source: str, lines: Sequence[Line], planned: int) -> str:
    """Write these files into `folder`, and figures if there is something to draw.

    Returns the Markdown. Curves come from those run folders that still exist undamaged.
    """
    intervals = {
        row.name: joint_intervals(folder, [line for line in lines if line["name"] == row.name])
        for row in rows(lines)
    }
    text = markdown(title, source, lines, planned, intervals)
    content = _content(folder, title, lines, intervals)
    with staged(folder) as new:
        (new / "report.md").write_text(text, encoding="utf-8")
        (new / "report.json").write_bytes(msgspec.json.encode(content) + b"\n")
        _draw(new, content)
    return text


def _content(
    folder: Path, title: str, lines: Sequence[Line], intervals: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of report.json, where a number that is not finite becomes null."""
    columns = ("name", "published", "parameters", "seeds", *HEADS, "validation", "diverged")
    curves: dict[str, list[Any]] = {line["name"]: [] for line in lines}
    for line in lines:
        curves[line["name"]] += _curve(folder, line)
    table = [
        {name: getattr(row, name) for name in columns}
        | {"intervals": intervals[row.name], "curves": curves[row.name]}
        for row in rows(lines)
    ]
    metric = lines[0]["summary"]["metric"]
    return {"title": title, "metric": metric} | made_with(lines) | {"rows": table}


def _curve(folder: Path, line: Line) -> Iterator[dict[str, Any]]:
    """The curve of a run; none if it diverged or its folder is missing or damaged."""
    path = folder / "cells" / line["key"] / "metrics.jsonl"
    try:
        written = [json.loads(epoch) for epoch in path.read_text(encoding="utf-8").splitlines()]
        epochs = msgspec.convert(written, list[_Epoch])
    except (OSError, ValueError, msgspec.ValidationError):
        return
    if "stopped" not in line["summary"] and len(epochs) == line["summary"]["epochs"]:
        steps, values = [epoch.step for epoch in epochs], [epoch.validation for epoch in epochs]
        yield {"seed": line["seed"], "steps": steps, "validation": values} | _learned(written)


def _learned(epochs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Under "learned" every learned hyper-parameter's values; nothing if none was learned."""
    names = [name for name in NAMES if all(name in epoch for epoch in epochs)]
    values = {name: [epoch[name] for epoch in epochs] for name in names}
    return {"learned": values} if values else {}


def _draw(folder: Path, content: dict[str, Any]) -> None:
    metric, title = OBJECTIVES[content["metric"]], content["title"]
    ended = {row["name"]: row["test"] for row in content["rows"] if row["test"]}
    if ended:
        plots.results(ended, metric, title).savefig(folder / "report.png", dpi=120)
    curves = {row["name"]: row["curves"] for row in content["rows"] if row["curves"]}
    if curves:
        plots.seed_curves(curves, metric, title).savefig(folder / "curves.png", dpi=120)
    learned = {name: seeds for name, seeds in curves.items() if "learned" in seeds[0]}
    if learned:
        plots.learned_curves(learned, title).savefig(folder / "learned.png", dpi=120)
