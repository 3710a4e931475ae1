"""Tables in Markdown, of whatever text users have for names."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..scores import NAMES, Row

# What would be read as something else than text, in a cell of a table.
_SPECIAL = re.compile(r"([\\`*\[\]<>|~$]|(?<!\w)_|_(?!\w))")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table whose numbers stand to the right."""
    rows = list(rows)
    is_number = [bool(rows) and _is_number(value) for value in (rows[0] if rows else head)]
    lines = [head, ["---:" if number else "---" for number in is_number]]
    lines += [[cell(value) for value in row] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def scored(head: str, names: Sequence[str], rows: Sequence[Row]) -> str:
    """A table of the scores of every class or output."""
    heads = [NAMES.get(name, name) for name in rows[0]]
    return table(
        [head, *heads], [[name, *row.values()] for name, row in zip(names, rows, strict=True)]
    )


def cell(value: Any) -> str:
    """Text as it is, numbers to four digits, and a dash for what is not defined."""
    if value is None:
        return "-"
    if isinstance(value, float | np.floating):
        return f"{value:.4g}" if np.isfinite(value) else "-"
    return _SPECIAL.sub(r"\\\1", " ".join(str(value).split()))


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float | np.number)
