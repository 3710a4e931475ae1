"""How well a model answered."""

import re
from collections.abc import Iterator
from pathlib import Path

from ..runs.scores import NAMES
from ..trained import TrainedRun
from .markdown import number, table


def results(run: TrainedRun) -> Iterator[str]:
    """Tables of the scores, and of classes if the run has a report."""
    summary, counts = run.summary, run.content["task"].get("counts", {})
    if summary is None or summary["test"] is None:
        yield "None: training was cut short before the test."
        return
    rows = [[summary["metric"], number(summary["best_validation"]), number(summary["test"])]]
    for name, value in (summary["scores"] or {}).items():
        rows.append([NAMES.get(name, name), "", number(value)])
    yield table(["score", "validation", "test"], rows)
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
