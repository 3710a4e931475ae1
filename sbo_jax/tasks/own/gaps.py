"""Values that stand for nothing: those that programs write, and those that dataset.toml states."""

from typing import NamedTuple

import numpy as np

# what pandas reads as missing, in lower case, and the mark of the UCI repository
_MARKS = frozenset(
    "nan -nan na n/a #n/a #na <na> null none 1.#ind 1.#qnan -1.#ind -1.#qnan ?".split()
) | {""}


class Gaps(NamedTuple):
    """What a gap looks like in the files of one data set.

    Attributes:
        stated: numbers and text that mark one, as ``gaps = -9999`` in dataset.toml.
        classes: labels that mark none, whatever they look like.
    """

    stated: tuple[float | str, ...] = ()
    classes: tuple[str | int, ...] = ()

    def is_gap(self, text: str) -> bool:
        """Whether a label, a group or a file name, without spaces around it, is none."""
        if text in self.stated or _number(text) in self.stated:
            return True
        return text.lower() in _MARKS and text not in self.classes

    def among(self, numbers: np.ndarray) -> np.ndarray:
        """Where an array holds a number that is stated to be a gap, as a mask."""
        marks = [mark for mark in self.stated if not isinstance(mark, str)]
        return np.logical_or.reduce([numbers == mark for mark in marks] or [numbers != numbers])


def way_out(what: str) -> str:
    """The end of a sentence about a gap where `what` was expected."""
    exception = ", or name it in classes if it is a class" if what == "label" else ""
    return f"; fill the gap{exception}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
