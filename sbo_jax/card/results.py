"""How well a model answered."""

import re
from collections.abc import Iterator
from pathlib import Path

from .._words import counted
from ..disk.text import Json
from ..runs.scores import NAMES
from ..trained import TrainedRun
from .markdown import number, table


def results(run: TrainedRun) -> Iterator[str]:
    """Tables of the scores, and of classes if the run has a report."""
    summary, counts = run.summary, run.content["task"].get("counts", {})
    if summary is None or summary.get("test") is None:
        yield _untested(summary)
        return
    yield table(["score", "validation", "test", "95 % interval"], list(_rows(summary)))
    if drawn := summary.get("resampled"):
        yield f"Intervals are a bootstrap of {counted(drawn['count'], drawn['unit'])}."
    if run.content["model"].get("per_step"):
        yield "Every step whose answer is known counts the same."
    elif run.classes and "test" in counts:
        yield f"One sample of the test split counts {1 / counts['test']:.2g} in the accuracy."
    yield _classes(run)


def _untested(summary: Json | None) -> str:
    """Why there is nothing of the test split; of a run that ended, what there is."""
    if summary is None:
        return "Not known: there is no summary.json."
    if "stopped" in summary:
        return "None: training was cut short before the test."
    validation = f"{summary['metric']} {number(summary['best_validation'])}"
    return f"On validation {validation}. Nobody has looked at the test split."


def _rows(summary: Json) -> Iterator[list[str]]:
    """Of a refitted run its scores come after those of the model that validation chose."""
    metric, validation = summary["metric"], number(summary["best_validation"])
    chosen = summary.get("chosen")
    if chosen:
        ends = _interval(chosen, metric)
        yield [
            f"{metric}, at the epoch of the validation",
            validation,
            number(chosen["test"]),
            ends,
        ]
        metric, validation = f"{metric}, trained anew on both splits", ""
    yield [metric, validation, number(summary["test"]), _interval(summary, summary["metric"])]
    for name, value in (summary["scores"] or {}).items():
        yield [NAMES.get(name, name), "", number(value), _interval(summary, name)]


def _interval(found: Json, name: str) -> str:
    return " to ".join(map(number, (found.get("intervals") or {}).get(name) or ()))


def _classes(run: TrainedRun) -> str:
    """The table of classes in the run's report; "" where it has none."""
    report = Path(run.place) / "report.md" if run.place else None
    if report is None or not report.is_file():
        return ""
    text = report.read_text(encoding="utf-8")
    found = re.search(r"^## Classes\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""
