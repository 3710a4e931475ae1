"""One net for all readers: what they raise on a damaged or odd file becomes one sentence."""

import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ._types import DataError


@contextmanager
def reading(expected: str, advice: str = "") -> Iterator[None]:
    """DataError "EXPECTED (fault); ADVICE" for whatever is raised inside, other than a DataError.

    A damaged file makes its reader raise nearly anything: RecursionError for brackets, MemoryError
    for an absurd size, RuntimeError for encryption.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as fault:
        raise DataError(f"{expected} ({_sentence(fault)}){advice and '; ' + advice}") from fault


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put this path in front of a DataError that names no file in its folder."""
    try:
        yield
    except DataError as fault:
        if str(path.parent) in str(fault):
            raise
        raise DataError(f"{path}: {fault}") from fault


def _sentence(fault: Exception) -> str:
    """The first sentence of its message, on one line, or its kind where it has none."""
    text = textwrap.shorten(re.split(r"\.\s|\n", str(fault).strip())[0], 200)
    return text.rstrip(".") or type(fault).__name__
