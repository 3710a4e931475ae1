"""Fields of a configuration that choose among names."""

import difflib
import itertools
from types import NoneType
from typing import Any, Literal, get_args, get_origin


def check_choice(name: str, value: Any, hint: Any) -> None:
    """ValueError unless `value` is one of the names that the type `hint` knows, if any."""
    known = _names(hint)
    if not known or value in known or (value is None and NoneType in get_args(hint)):
        return
    near = difflib.get_close_matches(str(value), known, n=1)
    mean = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"expected {name} among {', '.join(known)}, got {value!r}{mean}")


def _names(hint: Any) -> tuple[str, ...]:
    """Of a Literal, or of the Literals in a union."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(itertools.chain.from_iterable(map(_names, get_args(hint))))
