"""The files that `benchmark.py run` writes beside the runs of an experiment.

OUT/report.md     the table
OUT/report.png    test metric, a marker per seed
OUT/curves.png    validation metric over upper-level steps, and over seconds if they are known
OUT/learned.png   learned hyper-parameters over upper-level steps
OUT/flow.png      how evenly gradients reach back, over upper-level steps, where a file asks for it
OUT/report.json   the numbers of the figures, to redraw them from
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ... import plots
from ...disk.text import staged
from ...training.learn_hyper import NAMES
from ...training.objectives import OBJECTIVES
from .protocols import HEADS, joint_intervals
from .table import Line, flow_markdown, made_with, markdown, rows

_Line = TypeVar("_Line", bound=msgspec.Struct)


class _Epoch(msgspec.Struct):
    """The fields of a line of metrics.jsonl that a curve needs."""

    step: int
    validation: float


class _Time(msgspec.Struct):
    """A line of timing.jsonl."""

    epoch: int
    seconds: float


class _Flow(msgspec.Struct):
    """A line of gradient_flow.jsonl; None for a ratio that is not finite."""

    step: int
    ratio: float | None


def write_report(folder: Path, title: str, source: str, lines: Sequence[Line], planned: int) -> str:
    """Write these files into `folder`, and figures if there is something to draw.

    Returns the Markdown. Curves come from those run folders that still exist undamaged.
    """
    intervals = {
        row.name: joint_intervals(folder, [line for line in lines if line["name"] == row.name])
        for row in rows(lines)
    }
    content = _content(folder, title, lines, intervals)
    text = markdown(title, source, lines, planned, intervals)
    text += flow_markdown({row["name"]: _flows(row) for row in content["rows"]})
    with staged(folder) as new:
        (new / "report.md").write_text(text, encoding="utf-8")
        (new / "report.json").write_bytes(msgspec.json.encode(content) + b"\n")
    with staged(folder) as new:  # whose pictures must not cost the numbers
        _draw(new, content)
    return text


def _content(
    folder: Path, title: str, lines: Sequence[Line], intervals: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of report.json, where a number that is not finite becomes null."""
    about = ("name", "network", "model", "task", "published", "parameters", "seeds")
    columns = (*about, *HEADS, "validation", "diverged")
    curves: dict[str, list[Any]] = {line["name"]: [] for line in lines}
    for line in lines:
        curves[line["name"]] += _curve(folder, line)
    samples = {line["name"]: _samples(line) for line in lines}
    table = [
        {name: getattr(row, name) for name in columns}
        | {"intervals": intervals[row.name], "curves": curves[row.name]}
        | samples[row.name]
        for row in rows(lines)
    ]
    metric = lines[0]["summary"]["metric"]
    return {"title": title, "metric": metric} | made_with(lines) | {"rows": table}


def _samples(line: Line) -> dict[str, str]:
    """Under "samples" the checksum of a user's own data."""
    known = line["summary"].get("samples")
    return {"samples": known["sha256"]} if known else {}


def _curve(folder: Path, line: Line) -> Iterator[dict[str, Any]]:
    """The curve of a run; none if it diverged or its folder is missing or damaged."""
    run = folder / "cells" / line["key"]
    written = _written(run / "metrics.jsonl")
    epochs = _converted(written, _Epoch)
    if epochs and "stopped" not in line["summary"] and len(epochs) == line["summary"]["epochs"]:
        steps, values = [epoch.step for epoch in epochs], [epoch.validation for epoch in epochs]
        curve = {"seed": line["seed"], "steps": steps, "validation": values}
        yield curve | _seconds(run, len(epochs)) | _learned(written) | _flow(run)


def _written(path: Path) -> list[Any]:
    """The lines of a file; none of one that is missing or damaged."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return []


def _converted(lines: list[Any], kind: type[_Line]) -> list[_Line]:
    """The lines as this kind; none if one of them is of another."""
    try:
        return msgspec.convert(lines, list[kind])  # type: ignore[valid-type]
    except msgspec.ValidationError:
        return []


def _seconds(run: Path, epochs: int) -> dict[str, list[float]]:
    """Under "seconds" how long training took up to every epoch; nothing unless known of all."""
    lines = _converted(_written(run / "timing.jsonl"), _Time)
    known = [line.epoch for line in lines] == list(range(1, epochs + 1))
    return {"seconds": [line.seconds for line in lines]} if known else {}


def _flow(run: Path) -> dict[str, Any]:
    """Under "gradient_flow" its ratio before training and after every epoch, if it was measured."""
    lines = _converted(_written(run / "gradient_flow.jsonl"), _Flow)
    steps, ratios = [line.step for line in lines], [line.ratio for line in lines]
    return {"gradient_flow": {"steps": steps, "ratio": ratios}} if lines else {}


def _flows(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The curves of a row's seeds that have one of the gradient flow."""
    return [curve for curve in row["curves"] if "gradient_flow" in curve]


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
    flows = {row["name"]: _flows(row) for row in content["rows"] if _flows(row)}
    if flows:
        plots.flow_ratio_curves(flows, title).savefig(folder / "flow.png", dpi=120)
