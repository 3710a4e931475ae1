"""The table of an experiment: mean and deviation over seeds, as Markdown and as a figure."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .. import plots

Line = Mapping[str, Any]


class Row(NamedTuple):
    """Runs of one name: the values of those that came to an end, and how many did not."""

    name: str
    metric: str
    test: Sequence[float]
    validation: Sequence[float]
    parameters: int
    seconds: float
    epochs: float
    stopped: int
    published: str


def rows(lines: Sequence[Line]) -> list[Row]:
    """One row per name, in the order of the lines."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(line["name"], []).append(line)
    return [_row(name, group) for name, group in groups.items()]


def _row(name: str, lines: Sequence[Line]) -> Row:
    summaries = [line["summary"] for line in lines]
    ended = [summary for summary in summaries if "stopped" not in summary]
    return Row(
        name,
        summaries[0]["metric"],
        [summary["test"] for summary in ended],
        [summary["best_validation"] for summary in ended],
        summaries[0]["parameters"],
        statistics.mean(summary["seconds"] for summary in summaries),
        statistics.mean(summary["epochs"] for summary in summaries),
        len(summaries) - len(ended),
        lines[0]["published"],
    )


def markdown(title: str, source: str, lines: Sequence[Line], planned: int) -> str:
    """The table and what it was made with."""
    where = lines[-1]["environment"]
    commits = sorted({line["environment"]["commit"] or "unknown" for line in lines})
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    head = [
        f"# {title}",
        "",
        f"`benchmark.py run {source}`: {len(lines)} of {planned} runs. "
        f"Mean and standard deviation over seeds; the test split is looked at once a run, at the "
        f"epoch that was best on validation. Seconds are wall-clock.",
        "",
        f"Commit {', '.join(commits)}; {where['device']}, {where['platform']}, {versions}.",
        "",
        "| run | seeds | test | published | validation | parameters | seconds | an epoch |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *(_markdown_row(row) for row in rows(lines))]) + "\n"


def _markdown_row(row: Row) -> str:
    seeds = str(len(row.test)) + (f", and {row.stopped} that diverged" if row.stopped else "")
    test, validation = (_spread(row.metric, values) for values in (row.test, row.validation))
    cost = f"{row.parameters:,}", f"{row.seconds:.0f}", f"{row.seconds / row.epochs:.1f}"
    cells = [row.name, seeds, test, row.published, validation, *cost]
    return f"| {' | '.join(cells)} |"


def _spread(metric: str, values: Sequence[float]) -> str:
    """Accuracies in per cent; the deviation where there is more than one run."""
    if not values:
        return ""
    mean, deviation = statistics.mean(values), statistics.stdev(values) if values[1:] else 0.0
    if metric == "accuracy":
        return (
            f"{100 * mean:.1f} ± {100 * deviation:.1f} %" if values[1:] else f"{100 * mean:.1f} %"
        )
    return f"{mean:.3g} ± {deviation:.1g}" if values[1:] else f"{mean:.3g}"


def write_report(folder: Path, title: str, source: str, lines: Sequence[Line], planned: int) -> str:
    """Write report.md and report.png into `folder`; returns the Markdown."""
    text = markdown(title, source, lines, planned)
    (folder / "report.md").write_text(text, encoding="utf-8")
    ended = {row.name: row.test for row in rows(lines) if row.test}
    if ended:
        figure = plots.results(ended, lines[0]["summary"]["metric"], title)
        figure.savefig(folder / "report.png", dpi=120)
    return text
