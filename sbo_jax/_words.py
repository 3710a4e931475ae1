"""Numbers and lists as messages and reports say them."""

from collections.abc import Sequence

# More names than these are a list that nobody reads.
_MOST_NAMES = 12


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """``1 step``, ``2,000 steps``; `plural` where the noun takes no s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def listed(names: Sequence[object]) -> str:
    """``a, b, c``; of many names the first, and how many more there are."""
    shown = ", ".join(map(str, names[:_MOST_NAMES]))
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES} more"
