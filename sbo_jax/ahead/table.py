"""Kept figures of `scripts/compile_for.py` as a Markdown table."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HEAD = ("machine", "options", "program", "seconds", "of a device's memory", "devices meet")


def table(files: list[Path]) -> str:
    """One row per program, in the order of the files.

    Raises:
      ValueError: a file of something else.
    """
    rows = [row for file in files for row in _rows(file)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [_HEAD, ["---"] * len(_HEAD), *rows])


def _rows(file: Path) -> Iterator[list[str]]:
    known: dict[str, Any] = {}
    for line in file.read_text().splitlines():
        found = _parsed(line)
        if "topology" in found:
            known = found
        elif "program" in found and known:
            yield _row(known, found)
        else:
            raise ValueError(f"expected figures of compile_for.py, got another line in {file}")


def _parsed(line: str) -> dict[str, Any]:
    """What a line says; nothing where it is no JSON object."""
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _row(known: dict[str, Any], found: dict[str, Any]) -> list[str]:
    need, meet = "too large to compile", ""
    if found["memory"]:
        need = f"{sum(found['memory'].values()) / 2**20:.1f} MiB"
        kinds = [f"{meeting['kind']}{_around(meeting)}" for meeting in found["meetings"]]
        meet = ", ".join(kinds) or "never"
    return [
        known["topology"],
        f"`{known['options']}`" if known["options"] else "defaults",
        found["program"],
        f"{found['seconds']:.1f}",
        need,
        meet,
    ]


def _around(meeting: dict[str, Any]) -> str:
    return "".join(f" in {passes or 'unknown'} passes" for passes in meeting["around"])
