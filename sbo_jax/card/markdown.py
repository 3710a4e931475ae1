"""Words and tables of Markdown."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

# More names than these are a list that nobody reads.
_MOST_NAMES = 20


def plain(name: Any) -> str:
    """A name of the user's, on one line, in which nothing is a mark of Markdown."""
    marks = r"([\\`*<>|\[\]#]|(?<!\w)_|_(?!\w))"
    return re.sub(marks, r"\\\1", " ".join(str(name).split()))


def listed(names: Iterable[Any]) -> str:
    shown = [plain(name) for name in names]
    rest = len(shown) - _MOST_NAMES
    return ", ".join(shown[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def bullets(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Without the columns that are empty."""
    filled = [i for i in range(len(head)) if any(row[i] for row in rows)]
    lines = [[row[i] for i in filled] for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
