"""The pictures of a page: what the paper claims, as far as the reports have the data.

Every picture is of one experiment, whose networks were trained alike.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from ... import plots
from .results import Entry, Report, Results, Row, TaskResults

_MANY = 4


class Picture(NamedTuple):
    """A file of the page: its name, what it shows, and what draws it as a figure of Matplotlib."""

    name: str
    shows: str
    draw: Callable[[], Any]


def pictures(results: Results) -> Iterator[Picture]:
    """Those of all tasks."""
    for task in results.tasks:
        yield from pictures_of(task)


def pictures_of(task: TaskResults) -> Iterator[Picture]:
    """Those that stand in the section of a task."""
    for report in task.reports:
        entries = [entry for entry in task.entries if entry.report is report]
        alone = len({row.task for row in report.rows}) == 1
        part = report.stem if alone else f"{report.stem}-{task.task.slug}"
        title = report.title if alone else task.task.title
        yield from _parameters(task, entries, part, title)
        yield from _curves(task, entries, part, title)
        yield from _fractions(task, report)


def _parameters(
    task: TaskResults, entries: list[Entry], part: str, title: str
) -> Iterator[Picture]:
    """The metric against parameters, where there are networks of both kinds."""
    if {entry.row.is_ours for entry in entries} != {True, False}:
        return
    points = [
        plots.Point(row.network, row.parameters, row.test, row.is_ours)
        for row in (entry.row for entry in entries)
    ]
    points += [
        plots.Point(n.network, n.parameters, [task.published.value(n)], n.is_ours, True)
        for n in task.published.numbers
        if n.parameters
    ]
    draw = partial(plots.against_parameters, points, task.objective, title)
    shows = f"{title}: test {task.metric} against parameters"
    yield Picture(f"summary-{part}-parameters.png", shows, draw)


def _curves(task: TaskResults, entries: list[Entry], part: str, title: str) -> Iterator[Picture]:
    """The course of training, of each kind of network the few that are best on validation."""
    best = task.ranked(entry for entry in entries if _has_course(entry.row))
    ours = [entry.row for entry in best if entry.row.is_ours][:_MANY]
    others = [entry.row for entry in best if not entry.row.is_ours][:_MANY]
    runs = {row.network: row.curves for row in [*ours, *others]}
    if runs:
        draw = partial(plots.seed_curves, runs, task.objective, title)
        shows = f"{title}: validation {task.metric} in the course of training"
        yield Picture(f"summary-{part}-curves.png", shows, draw)


def _has_course(row: Row) -> bool:
    return bool(row.curves) and all(len(curve["steps"]) > 1 for curve in row.curves)


def _fractions(task: TaskResults, report: Report) -> Iterator[Picture]:
    """The metric against the part of the training samples, in the section of the largest part."""
    whole = task.task.of_all_samples
    rows = [row for row in report.rows if row.test and row.task.of_all_samples == whole]
    fractions = {row.task.train_fraction for row in rows}
    if len(fractions) < 2 or task.task.train_fraction != max(fractions):
        return
    runs: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        runs.setdefault(_without_fraction(row), {})[row.task.train_fraction] = row.test
    alone = len({row.task.of_all_samples for row in report.rows}) == 1
    part = report.stem if alone else f"{report.stem}-{whole.slug}"
    title = report.title if alone else whole.title
    draw = partial(plots.against_fraction, runs, task.objective, title)
    shows = f"{title}: test {task.metric} against the part of the training samples"
    yield Picture(f"summary-{part}-fractions.png", shows, draw)


def _without_fraction(row: Row) -> str:
    """The network's name without the part of it that tells fractions apart."""
    fraction = row.task.train_fraction
    names = row.task.percentage, f"train_fraction {fraction}", f"train_fraction {fraction:g}"
    return ", ".join(part for part in row.network.split(", ") if part not in names)
