"""How well a model answered."""

import re
from collections.abc import Iterator
from pathlib import Path

from ..runs.report.markdown import counted
from ..runs.scores import NAMES
from ..trained import TrainedRun
from .markdown import number, table


def results(run: TrainedRun) -> Iterator[str]:
    """Tables of the scores, and of classes if the run has a report."""
    summary, counts = run.summary, run.content["task"].get("counts", {})
    if summary is None or summary["test"] is None:
        yield "None: training was cut short before the test."
        return
    metric, intervals = summary["metric"], summary.get("intervals") or {}
    measured = {metric: summary["test"]} | (summary["scores"] or {})
    rows = []
    for name, value in measured.items():
        if name == metric:
            known, validation = name, number(summary["best_validation"])
        else:
            known, validation = NAMES.get(name, name), ""
        ends = " to ".join(map(number, intervals.get(name) or ()))
        rows.append([known, validation, number(value), ends])
    yield table(["score", "validation", "test", "95 % interval"], rows)
    if drawn := summary.get("resampled"):
        yield f"Intervals are a bootstrap of {counted(drawn['count'], drawn['unit'])}."
    if run.content["model"].get("per_step"):
        yield "Every step whose answer is known counts the same."
    elif run.classes and "test" in counts:
        yield f"One sample of the test split counts {1 / counts['test']:.2g} in the accuracy."
    yield _classes(run)


def _classes(run: TrainedRun) -> str:
    """The table of classes in the run's report; "" where it has none."""
    report = Path(run.place) / "report.md" if run.place else None
    if report is None or not report.is_file():
        return ""
    text = report.read_text(encoding="utf-8")
    found = re.search(r"^## Classes\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""
