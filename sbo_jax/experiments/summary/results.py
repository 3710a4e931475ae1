"""What a folder knows of every task: rows of reports, and published numbers."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ...runs.folder.arrays import first_line
from ...training.objectives import OBJECTIVES, Objective
from ..variant import Variant
from .published import OURS, Published, Source, read_published

PUBLISHED = "published.toml"


class Row(msgspec.Struct):
    """A row of a report.json, see `report`."""

    name: str
    network: str
    model: str
    task: Variant
    parameters: int
    seeds: list[int]
    test: list[float]
    validation: list[float]
    refit: list[float] = []
    best_test: list[float] = []
    intervals: dict[str, Any] = {}
    curves: list[dict[str, Any]] = []
    samples: str = ""

    @property
    def is_ours(self) -> bool:
        return self.model.startswith(OURS)


class Report(msgspec.Struct):
    """A report.json; ``stem`` is the name of its file, ``page`` that of the page beside it."""

    title: str
    metric: str
    rows: list[Row]
    stem: str = ""
    page: str = ""


class Entry(NamedTuple):
    """A row of a report in which at least one run came to its end."""

    report: Report
    row: Row

    @property
    def validation(self) -> float:
        return statistics.mean(self.row.validation)


class TaskResults(NamedTuple):
    """All that is known of a task: our entries, and what is published."""

    entries: Sequence[Entry]
    published: Published

    @property
    def task(self) -> Variant:
        return self.published.task

    @property
    def objective(self) -> Objective:
        return OBJECTIVES[self.published.metric]

    @property
    def metric(self) -> str:
        """Its name for people, without a unit."""
        return self.objective.label.partition(" (")[0]

    @property
    def reports(self) -> list[Report]:
        """Those with an entry here, in their order."""
        return list({entry.report.stem: entry.report for entry in self.entries}.values())

    def best(self, *, is_ours: bool) -> Entry | None:
        """The best entry on validation of those with the most seeds: SBO-RNNs, or other networks.

        A mean of few seeds is more often high by luck.
        """
        own = [entry for entry in self.entries if entry.row.is_ours is is_ours]
        most = max((len(entry.row.seeds) for entry in own), default=0)
        known = self.ranked(entry for entry in own if len(entry.row.seeds) == most)
        return known[0] if known else None

    def ranked(self, entries: Iterable[Entry]) -> list[Entry]:
        """From the best on validation on; no test split decides."""
        reverse = self.objective.higher_is_better
        return sorted(entries, key=lambda entry: entry.validation, reverse=reverse)


class Results(NamedTuple):
    """A folder of reports. ``sources`` are what published numbers refer to, in their order."""

    tasks: Sequence[TaskResults]
    sources: Mapping[str, Source]


def read_results(folder: Path) -> Results:
    """Everything in the folder, task by task.

    Raises:
      ValueError: there is no report, or a file is damaged.
    """
    reports = [report for path in sorted(folder.glob("*.json")) if (report := _read(path))]
    if not reports:
        raise ValueError(
            f"expected the report.json of an experiment in {folder}, under any name, got none; "
            f"copy those that benchmark.py run wrote"
        )
    published, sources = read_published(folder / PUBLISHED)
    entries = [Entry(report, row) for report in reports for row in report.rows if row.validation]
    tasks = {entry.row.task for entry in entries} | set(published)
    found = []
    for task in sorted(tasks, key=lambda task: task.place):
        own = [entry for entry in entries if entry.row.task == task]
        metric = _metric(task, own, published.get(task))
        _check_same_samples(task, own)
        found.append(TaskResults(own, published.get(task) or Published(task, metric)))
    return Results(found, sources)


def _metric(task: Variant, entries: Iterable[Entry], published: Published | None) -> str:
    """The one that all have who speak of the task; ValueError where they differ."""
    metrics = {entry.report.metric: f"{entry.report.stem}.json" for entry in entries}
    if published:
        metrics[published.metric] = PUBLISHED
    if len(metrics) > 1:
        got = " and ".join(f"{metric} in {name}" for metric, name in metrics.items())
        raise ValueError(f"expected one metric for {task.title}, got {got}")
    (metric,) = metrics
    return metric


def _check_same_samples(task: Variant, entries: Iterable[Entry]) -> None:
    """ValueError for two data sets of a user that have one name."""
    known = {entry.row.samples: entry for entry in entries if entry.row.samples}
    if len(known) > 1:
        got = " and ".join(f"{row.name!r} of {report.stem}.json" for report, row in known.values())
        raise ValueError(
            f"expected one data set of the name {task.title}, got others of {got}; put what "
            f"belongs together into a folder of its own"
        )


def _read(path: Path) -> Report | None:
    """A report; None for JSON of another kind."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"expected JSON in {path}, got {first_line(error)}") from error
    known = isinstance(content, dict) and {"title", "metric", "rows"} <= content.keys()
    if not known or content["metric"] not in OBJECTIVES:
        return None
    try:
        report = msgspec.convert(content, Report)
    except msgspec.ValidationError as error:
        raise ValueError(
            f"expected a report.json in {path}, got {first_line(error)}; write it again with "
            f"benchmark.py run FILE --report"
        ) from error
    report.stem = path.stem
    report.page = path.with_suffix(".md").name if path.with_suffix(".md").exists() else ""
    return report
