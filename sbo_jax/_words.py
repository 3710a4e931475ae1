"""Numbers as messages and reports say them."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """``1 step``, ``2,000 steps``; `plural` where the noun takes no s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
