"""The table of an experiment: mean and deviation over seeds, as Markdown."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..training.objectives import OBJECTIVES

Line = Mapping[str, Any]


class Row(NamedTuple):
    """All runs of one name: the values of those that finished, seed by seed, and the others."""

    name: str
    metric: str
    seeds: Sequence[int]
    test: Sequence[float]
    validation: Sequence[float]
    parameters: int
    seconds: float
    epochs: float
    diverged: Sequence[int]
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
        [line["seed"] for line in lines if "stopped" not in line["summary"]],
        [summary["test"] for summary in ended],
        [summary["best_validation"] for summary in ended],
        summaries[0]["parameters"],
        statistics.mean(summary["seconds"] for summary in summaries),
        statistics.mean(summary["epochs"] for summary in summaries),
        [line["seed"] for line in lines if "stopped" in line["summary"]],
        lines[0]["published"],
    )


def made_with(lines: Sequence[Line]) -> dict[str, Any]:
    """All commits that made the lines, and the environment of the last."""
    where = lines[-1]["environment"]
    commits = sorted({line["environment"]["commit"] or "unknown" for line in lines})
    return {"commits": commits} | {name: where[name] for name in ("device", "platform", "versions")}


def markdown(title: str, source: str, lines: Sequence[Line], planned: int) -> str:
    """The table, and the environment that made it."""
    where = made_with(lines)
    commits = ", ".join(where["commits"])
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    head = [
        f"# {title}",
        "",
        f"`benchmark.py run {source}`: {len(lines)} of {planned} runs. "
        f"Mean and standard deviation over seeds; the test split is evaluated once per "
        f"run, at the epoch that was best on validation. Seconds are wall-clock.",
        "",
        f"Commit {commits}; {where['device']}, {where['platform']}, {versions}.",
        "",
        "| run | seeds | test | published | validation | parameters | seconds | an epoch |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *(_markdown_row(row) for row in rows(lines))]) + "\n"


def _markdown_row(row: Row) -> str:
    seeds = str(len(row.seeds))
    if row.diverged:
        seeds += f", and {len(row.diverged)} that diverged"
    spread = OBJECTIVES[row.metric].spread
    test, validation = (_over_seeds(spread, values) for values in (row.test, row.validation))
    cost = f"{row.parameters:,}", f"{row.seconds:.0f}", f"{row.seconds / row.epochs:.1f}"
    cells = [row.name, seeds, test, row.published, validation, *cost]
    return f"| {' | '.join(cells)} |"


def _over_seeds(spread: Callable[[float, float | None], str], values: Sequence[float]) -> str:
    """Mean and, where there is more than one run, deviation."""
    if not values:
        return ""
    return spread(statistics.mean(values), statistics.stdev(values) if values[1:] else None)
