"""The files that `benchmark.py search` writes beside its runs.

OUT/search.md     the trials, best on validation first
OUT/search.json   the numbers
OUT/best.toml     the best options, as an experiment
"""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..._words import counted
from ...disk.text import json_text, staged
from ...runs.report.markdown import table
from ...training.objectives import OBJECTIVES
from ..report.table import made_with, over_seeds
from .file import Search
from .row import Row, text


def write_report(folder: Path, search: Search, source: str, rows: Sequence[Row]) -> str:
    """Write these files into `folder`, the last one if a trial has not diverged.

    Args:
      folder: where they go.
      search: what was asked for.
      source: its file.
      rows: the trials that have ended, one or more.

    Returns:
      The Markdown.
    """
    ranked = sorted(rows, key=lambda row: row.order)
    content = _content(search, source, ranked)
    markdown = _markdown(search, content, ranked)
    with staged(folder) as new:
        (new / "search.md").write_text(markdown, encoding="utf-8")
        (new / "search.json").write_text(json_text(content, indent=2) + "\n", encoding="utf-8")
        if not ranked[0].diverged:
            best = _experiment(search, source, ranked)
            (new / "best.toml").write_text(best, encoding="utf-8")
    return markdown


def _content(search: Search, source: str, ranked: Sequence[Row]) -> dict[str, Any]:
    """The content of search.json."""
    in_turn = sorted(ranked, key=lambda row: row.trial.number)
    # Each once: equal trials have the same runs.
    lines = list({line["key"]: line for row in in_turn for line in row.lines}.values())
    return {
        "title": search.title,
        "command": f"benchmark.py search {source}",
        "metric": lines[0]["summary"]["metric"],
        "budget": {"trials": search.trials, "seeds": list(search.seeds)},
        "split_per_seed": search.split_per_seed,
        "sampler": {
            "name": "TPE",
            "seed": search.sampler_seed,
            "optuna": version("optuna"),
        },
        "shared": dict(search.shared),
        "search": dict(search.searched),
        **made_with(lines),
        "seconds": round(sum(line["summary"]["seconds"] for line in lines), 1),
        "trials": [_numbers(row) for row in ranked],
    }


def _numbers(row: Row) -> dict[str, Any]:
    return {
        "trial": row.trial.number,
        "options": dict(row.trial.chosen),
        "validation": row.validation,
        "diverged": row.diverged,
        "parameters": row.summaries[0]["parameters"],
        "best_epoch": [summary["best_epoch"] for summary in row.summaries],
        "seconds": row.seconds,
        "cells": [line["key"] for line in row.lines],
    }


def _markdown(search: Search, content: dict[str, Any], ranked: Sequence[Row]) -> str:
    versions = content["versions"] | {"optuna": content["sampler"]["optuna"]}
    made = ", ".join(f"{name} {number}" for name, number in versions.items())
    parts = [
        f"# {search.title}",
        _about(search, content, ranked),
        f"Commit {', '.join(content['commits'])}; {content['device']}, {content['platform']}, "
        f"{made}. {content['seconds']:,.0f} s of training.",
        f"All runs have {text(search.shared) or 'the defaults'}.",
        _table(search, content["metric"], ranked),
    ]
    return "\n\n".join(parts)


def _about(search: Search, content: dict[str, Any], ranked: Sequence[Row]) -> str:
    diverged = sum(bool(row.diverged) for row in ranked)
    return (
        f"`{content['command']}`: {len(ranked)} of {counted(search.trials, 'trial')}, of which "
        f"{diverged} diverged; each with {_seeds(search)}. Options were chosen by TPE, sampler "
        f"seed {search.sampler_seed}, on validation alone: no run looked at the test split. The "
        f"best of many trials is partly luck: give `best.toml` seeds that chose nothing, and "
        f"`benchmark.py run` it, which looks at the test split."
    )


def _table(search: Search, metric: str, ranked: Sequence[Row]) -> str:
    spread = OBJECTIVES[metric].spread
    heads = ["trial", f"validation {metric}", *search.space, "parameters", "seconds", "runs"]
    rows = [
        [
            row.trial.number,
            "diverged" if row.diverged else over_seeds(spread, row.validation),
            *(row.trial.chosen[name] for name in search.space),
            row.summaries[0]["parameters"],
            round(row.seconds),
            ", ".join(f"cells/{line['key']}" for line in row.lines),
        ]
        for row in ranked
    ]
    return table(heads, rows)


def _experiment(search: Search, source: str, ranked: Sequence[Row]) -> str:
    """The content of best.toml."""
    best, metric = ranked[0], ranked[0].summaries[0]["metric"]
    value = over_seeds(OBJECTIVES[metric].spread, best.validation)
    lines = [
        f"# Trial {best.trial.number} of {' '.join(source.split())}, the best of "
        f"{counted(len(ranked), 'trial')} on validation: {metric} {value} with {_seeds(search)}.",
        "# Give it seeds that chose nothing. `benchmark.py run` looks at the test split as well.",
        _toml("title", f"{search.title}: the best of {counted(len(ranked), 'trial')}"),
        _toml("seeds", list(search.seeds)),
        _toml("split_per_seed", search.split_per_seed),
        "",
        "[shared]",
        *(_toml(name, value) for name, value in search.shared.items()),
        "",
        "[[rows]]",
        _toml("name", f"trial {best.trial.number}"),
        *(_toml(name, value) for name, value in best.trial.chosen.items()),
    ]
    return "\n".join(lines) + "\n"


def _seeds(search: Search) -> str:
    text = f"seed{'s' * (len(search.seeds) > 1)} {', '.join(map(str, search.seeds))}"
    return text + (" and a split of its own" * search.split_per_seed)


def _toml(name: str, value: Any) -> str:
    """Text, numbers and lists of them are the same in TOML as in JSON, but for one character."""
    return f"{name} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")
