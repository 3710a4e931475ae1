"""Values that a caller may not give: counts below one, names that nobody knows."""

import difflib
import itertools
from collections.abc import Iterable
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import numpy as np


def check_counts(**counts: int) -> None:
    """ValueError unless every count is at least 1."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise ValueError(f"expected {name} as a whole number >= 1, got {count}")


def check_choice(name: str, value: Any, hint: Any) -> None:
    """ValueError unless `value` is one of the names that the type `hint` knows, if any."""
    known = _names(hint)
    if not known or value in known or (value is None and NoneType in get_args(hint)):
        return
    mean = did_you_mean(str(value), known)
    raise ValueError(f"expected {name} among {', '.join(known)}, got {value!r}{mean}")


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """The end of an error message: "; did you mean X?" for the closest known name, or nothing."""
    near = difflib.get_close_matches(value, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _names(hint: Any) -> tuple[str, ...]:
    """Of a Literal, or of the Literals in a union."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(itertools.chain.from_iterable(map(_names, get_args(hint))))
