"""summary.md: one table over all tasks, then a section for each."""

import re
import statistics
from collections.abc import Iterator
from urllib.parse import quote

from ..._words import counted
from ...runs.report.markdown import cell, table
from ..report.protocols import HEADS
from ..report.table import over_seeds
from .pictures import pictures_of
from .published import OURS, Number
from .results import Entry, Report, Results, TaskResults

_COLUMNS = ["task", "networks", "published", "best here", "parameters", "seeds", *HEADS.values()]
_COLUMNS += ["against published", "experiment"]
_PREFIXES = {"test": "", "refit": "refit: ", "best_test": "best test epoch: "}

_ABOUT = (
    "Of each task the SBO-RNN and the other network whose mean validation is best, among those "
    "with the most seeds; no test split chose a row. Mean and standard deviation over seeds of the "
    "test metric, at the epoch that was best on validation or, where an experiment says so, at the "
    "last, and by further protocols where a run was asked for them; in brackets a 95 % bootstrap "
    "interval over test samples."
)
_PUBLISHED = (
    " *Published* is the best number of SBO-RNN, and of any other network; *against published* "
    "says whether our network of the same line reaches it, by each protocol of ours; numbers and "
    "sources are in `published.toml`."
)
_WRITTEN = " `benchmark.py summary` wrote this from the report.json of every experiment."


def page(results: Results) -> str:
    """The whole page, as Markdown."""
    sections = (_section(task, results) for task in results.tasks)
    return "\n".join(["# The best of every task\n", front(results, ""), *sections])


def front(results: Results, home: str) -> str:
    """The table, how to read it, and the sources; sections are on the page `home`."""
    rows = [row for task in results.tasks for row in _rows(task, results, home)]
    names = [name for name in _COLUMNS if any(row.get(name) for row in rows)]
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    lines += [f"| {' | '.join(row.get(name, '') for name in names)} |" for row in rows]
    about = _ABOUT + _PUBLISHED * bool(results.sources) + _WRITTEN
    return "\n".join([*lines, "", f"{about}\n", *_sources(results)])


def _rows(task: TaskResults, results: Results, home: str) -> Iterator[dict[str, str]]:
    """A line for SBO-RNN and one for other networks, where anything is known of them."""
    title = f"[{cell(task.task.title)}]({home}#{_anchor(task.task.title)})"
    for is_ours, kind in ((True, OURS), (False, "others")):
        entry, number = task.best(is_ours=is_ours), task.published.best(is_ours=is_ours)
        if entry or number:
            yield (
                {"task": title, "networks": kind, "published": _published(task, number, results)}
                | _reached(task, entry)
                | {"against published": _against(task, entry, number)}
            )
            title = ""


def _published(task: TaskResults, number: Number | None, results: Results) -> str:
    if number is None:
        return ""
    name = "" if number.is_ours else f"{cell(number.network)} "
    return f"{name}{task.published.printed(number)} {_mark(number, results)}"


def _mark(number: Number, results: Results) -> str:
    return f"[{list(results.sources).index(number.source) + 1}]"


def _reached(task: TaskResults, entry: Entry | None) -> dict[str, str]:
    """Our columns; empty without a run."""
    if entry is None:
        return {}
    row = entry.row
    return {
        "best here": cell(row.name),
        "parameters": f"{row.parameters:,}",
        "seeds": f"{len(row.seeds)}",
        "experiment": _linked(entry.report),
    } | {head: _tested(task, entry, protocol) for protocol, head in HEADS.items()}


def _linked(report: Report) -> str:
    title = cell(report.title)
    return f"[{title}]({quote(report.page)})" if report.page else title


def _tested(task: TaskResults, entry: Entry, protocol: str) -> str:
    """Nothing where the protocol was not asked for, as in reports that are older than it."""
    ends = (entry.row.intervals.get(protocol) or {}).get(task.objective.metric_name)
    return over_seeds(task.objective.spread, getattr(entry.row, protocol), ends)


def _against(task: TaskResults, entry: Entry | None, number: Number | None) -> str:
    """By each protocol that there is; the one that decides has no name."""
    if entry is None or number is None:
        return ""
    reached = {protocol: getattr(entry.row, protocol) for protocol in HEADS}
    return "; ".join(
        _PREFIXES[protocol] + task.published.against(number, statistics.mean(values))
        for protocol, values in reached.items()
        if values
    )


def _sources(results: Results) -> Iterator[str]:
    for number, source in enumerate(results.sources.values(), 1):
        yield f"[{number}] {source.reference} <{source.url}>\n"


def _section(task: TaskResults, results: Results) -> str:
    """What was run, what is published, and pictures."""
    blocks = [f"## {task.task.title}"]
    if task.entries:
        blocks.append(f"Experiments: {', '.join(_experiments(task))}.")
    if task.published.remark:
        blocks.append(task.published.remark)
    if task.published.numbers:
        blocks.append(_numbers(task, results))
    blocks += [f"![{cell(shows)}]({quote(name)})" for name, shows, _ in pictures_of(task)]
    return "\n\n".join(block.rstrip() for block in blocks) + "\n"


def _experiments(task: TaskResults) -> Iterator[str]:
    for report in task.reports:
        rows = [entry for entry in task.entries if entry.report is report]
        yield f"{_linked(report)} ({counted(len(rows), 'network')})"


def _numbers(task: TaskResults, results: Results) -> str:
    """A table of what is published; columns of which nothing is known are left out."""
    published = task.published
    rows = [
        {
            "published": number.network,
            task.metric: published.printed(number),
            "parameters": f"about {number.parameters:,}" if number.parameters else "",
            "size (kB)": f"{number.kilobytes}" if number.kilobytes else "",
            "source": _mark(number, results),
        }
        for number in published.ranked()
    ]
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    return table(names, [[row[name] for name in names] for row in rows])


def _anchor(title: str) -> str:
    """Where GitHub and Sphinx put a heading: ``Adding, T = 500`` is at ``adding-t--500``."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
