"""The table of an experiment: mean and deviation over seeds, as Markdown."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ...runs.report.markdown import cell
from ...training.objectives import OBJECTIVES
from ..variant import Variant
from .protocols import HEADS, explained, value

Line = Mapping[str, Any]


class Row(NamedTuple):
    """All runs of one name: the values of those that finished, seed by seed, and the others.

    ``test``, ``refit`` and ``best_test`` are those of `protocols`, empty where not asked for.
    ``network`` is the name without the option that was picked. ``seconds`` and ``epochs`` are means
    over those that finished, None where none did.
    """

    name: str
    network: str
    model: str
    task: Variant
    metric: str
    seeds: Sequence[int]
    test: Sequence[float]
    refit: Sequence[float]
    best_test: Sequence[float]
    validation: Sequence[float]
    parameters: int
    seconds: float | None
    epochs: float | None
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
        lines[0]["network"],
        summaries[0]["model"],
        lines[0]["task"],
        summaries[0]["metric"],
        [line["seed"] for line in lines if "stopped" not in line["summary"]],
        _values(ended, "test"),
        _values(ended, "refit"),
        _values(ended, "best_test"),
        [summary["best_validation"] for summary in ended],
        summaries[0]["parameters"],
        _mean(ended, "seconds"),
        _mean(ended, "epochs"),
        [line["seed"] for line in lines if "stopped" in line["summary"]],
        lines[0]["published"],
    )


def _values(summaries: Sequence[Mapping[str, Any]], protocol: str) -> list[float]:
    values = [value(summary, protocol) for summary in summaries]
    return [each for each in values if each is not None]


def _mean(summaries: Sequence[Mapping[str, Any]], name: str) -> float | None:
    return statistics.fmean(summary[name] for summary in summaries) if summaries else None


def made_with(lines: Sequence[Line]) -> dict[str, Any]:
    """All commits that made the lines, and the environment of the last."""
    where = lines[-1]["environment"]
    commits = sorted({line["environment"]["commit"] or "unknown" for line in lines})
    return {"commits": commits} | {name: where[name] for name in ("device", "platform", "versions")}


def markdown(
    title: str,
    source: str,
    lines: Sequence[Line],
    planned: int,
    intervals: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """The table, and the environment that made it.

    Args:
      title: of the experiment.
      source: its file.
      lines: those of finished cells.
      planned: the number of all cells.
      intervals: for names of rows, what `joint_intervals` found.
    """
    table, found = rows(lines), intervals or {}
    asked = [name for name in HEADS if name == "test" or any(getattr(row, name) for row in table)]
    where = made_with(lines)
    commits = ", ".join(where["commits"])
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    names = ["run", "seeds", *(HEADS[name] for name in asked)]
    names += ["published", "validation", "parameters", "seconds", "an epoch"]
    head = [
        f"# {title}",
        "",
        f"`benchmark.py run {source}`: {len(lines)} of {planned} runs. "
        f"{explained(list(found.values()), asked)}",
        "",
        f"Commit {commits}; {where['device']}, {where['platform']}, {versions}.",
        "",
        f"| {' | '.join(names)} |",
        f"|{' --- |' * len(names)}",
    ]
    body = [_markdown_row(row, asked, found.get(row.name, {})) for row in table]
    return "\n".join([*head, *body]) + "\n"


def flow_markdown(flows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A table of gradient flows, least to largest over seeds; nothing where none was measured.

    Args:
      flows: for names of rows, curves of the seeds whose gradient flow was measured.
    """
    names = ["run", "seeds", "before training", "after the last epoch", "largest of all"]
    head = [
        "",
        "Largest over smallest ||dl/dh_t|| over the time steps of validation samples, l a linear "
        "read-out of the last state; infinite where one underflows to 0 or overflows:",
        "",
        f"| {' | '.join(names)} |",
        f"|{' --- |' * len(names)}",
    ]
    body = []
    for name, curves in flows.items():
        ratios = [_infinite_for_none(curve["gradient_flow"]["ratio"]) for curve in curves]
        if ratios:
            first, last = [each[0] for each in ratios], [each[-1] for each in ratios]
            told = map(_range, (first, last, list(map(max, ratios))))
            body.append(f"| {' | '.join([cell(name), str(len(ratios)), *told])} |")
    return "\n".join([*head, *body]) + "\n" if body else ""


def _infinite_for_none(ratios: Sequence[float | None]) -> list[float]:
    return [math.inf if ratio is None else ratio for ratio in ratios]


def _range(values: Sequence[float]) -> str:
    ends = dict.fromkeys(_number(end) for end in (min(values), max(values)))
    return " to ".join(ends)


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "infinite"


def _markdown_row(row: Row, asked: Sequence[str], intervals: Mapping[str, Any]) -> str:
    seeds = str(len(row.seeds))
    if row.diverged:
        seeds += f", and {len(row.diverged)} that diverged"
    spread = OBJECTIVES[row.metric].spread
    tested = []
    for name in asked:
        ends = intervals.get(name, {}).get(row.metric)
        tested.append(over_seeds(spread, getattr(row, name), ends))
    validation = over_seeds(spread, row.validation)
    published = row.published.replace("|", r"\|")
    cost = f"{row.parameters:,}", *_seconds(row)
    cells = [cell(row.name), seeds, *tested, published, validation, *cost]
    return f"| {' | '.join(cells)} |"


def _seconds(row: Row) -> tuple[str, str]:
    """In all, and of an epoch; empty where no run finished."""
    if row.seconds is None or row.epochs is None:
        return "", ""
    return f"{row.seconds:.0f}", f"{row.seconds / row.epochs:.1f}"


def over_seeds(
    spread: Callable[[float, float | None], str],
    values: Sequence[float],
    ends: Sequence[float] | None = None,
) -> str:
    """Mean and, where there is more than one run, deviation; the ends of an interval if known."""
    if not values:
        return ""
    text = spread(statistics.mean(values), statistics.stdev(values) if values[1:] else None)
    return f"{text} [{' to '.join(spread(end, None) for end in ends)}]" if ends else text
