"""`benchmark.py summary`: one table over many experiments, from the report.json of each.

Of every experiment two rows: the SBO-RNN and the other network that are best on validation.
"""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from ..devices.failures import in_one_sentence
from ..disk.paths import local_path
from ..runs.folder.arrays import first_line
from ..training.objectives import OBJECTIVES
from .protocols import HEADS
from .table import over_seeds

OURS = "SBO"
_PAGE = "summary.md"

_ABOUT = (
    "Of each experiment the SBO-RNN and the other network whose mean validation is best; no test "
    "split chose a row. Mean and standard deviation over seeds of the test metric, at the epoch "
    "that validation chose, and by two further protocols where a run was asked for them; in "
    "brackets a bootstrap interval over test samples. `benchmark.py summary` wrote this page."
)

_Row = Mapping[str, Any]


@dataclass(frozen=True)
class SummaryConfig:
    """Write summary.md into a folder of reports: the best networks of each, on one page.

    Exit code 0, or 2 for bad input.
    """

    folder: tyro.conf.Positional[Path]
    """holds report.json files of experiments under any name, and report.md files beside them"""


@in_one_sentence("benchmark.py")
def summarise(config: SummaryConfig) -> int:
    """Write the page, and say where it is."""
    page = local_path(config.folder) / _PAGE
    page.write_text(summary_page(local_path(config.folder)), encoding="utf-8")
    print(page)
    return 0


def summary_page(folder: Path) -> str:
    """The page as Markdown; ValueError for a folder without a report, or a damaged one."""
    reports = {path: report for path in sorted(folder.glob("*.json")) if (report := _read(path))}
    if not reports:
        raise ValueError(
            f"expected the report.json of an experiment in {folder}, under any name, got none; "
            f"copy those that benchmark.py run wrote"
        )
    names = ["experiment", "network", "parameters", "seeds", *HEADS.values(), "published"]
    lines = [
        "# The best of every experiment",
        "",
        _ABOUT,
        "",
        f"| {' | '.join(names)} |",
        f"|{' --- |' * len(names)}",
    ]
    for path, report in reports.items():
        lines += _lines(path, report)
    return "\n".join(lines) + "\n"


def _read(path: Path) -> dict[str, Any] | None:
    """A report; None for JSON of another kind."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"expected JSON in {path}, got {first_line(error)}") from error
    known = isinstance(content, dict) and {"title", "metric", "rows"} <= content.keys()
    return content if known and content["metric"] in OBJECTIVES else None


def _lines(path: Path, report: Mapping[str, Any]) -> Iterator[str]:
    page = path.with_suffix(".md")
    title = f"[{report['title']}]({page.name})" if page.exists() else report["title"]
    ended = [row for row in report["rows"] if row["validation"]]
    ours = [row for row in ended if row["name"].startswith(OURS)]
    others = [row for row in ended if not row["name"].startswith(OURS)]
    for rows in (ours, others):
        if rows:
            row = _best(rows, report["metric"])
            cells = row["name"], f"{row['parameters']:,}", f"{len(row['seeds'])}"
            tested = [_tested(row, protocol, report["metric"]) for protocol in HEADS]
            yield f"| {' | '.join([title, *cells, *tested, row['published']])} |"


def _best(rows: Sequence[_Row], metric: str) -> _Row:
    pick = max if OBJECTIVES[metric].higher_is_better else min
    return pick(rows, key=lambda row: statistics.mean(row["validation"]))


def _tested(row: _Row, protocol: str, metric: str) -> str:
    """Nothing where the protocol was not asked for, as in reports that are older than it."""
    ends = (row.get("intervals") or {}).get(protocol, {}).get(metric)
    return over_seeds(OBJECTIVES[metric].spread, row.get(protocol) or [], ends)
