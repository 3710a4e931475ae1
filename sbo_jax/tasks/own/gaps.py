"""Values that stand for nothing: those that programs write, and those that dataset.toml states."""

from typing import NamedTuple

import numpy as np

from .keys import Missing

READ_THEM = '; to read gaps, train with missing = "carry" or "mask" in dataset.toml'
"""The end of a sentence about a gap in the inputs."""

# what pandas reads as missing, in lower case, and the mark of the UCI repository
_MARKS = frozenset(
    "nan -nan na n/a #n/a #na <na> null none 1.#ind 1.#qnan -1.#ind -1.#qnan ?".split()
) | {""}
_UNLABELLED = frozenset({"", "nan"})


class Gaps(NamedTuple):
    """What a gap looks like in the files of one data set, and what is done about it.

    Attributes:
        stated: numbers and text that mark one, as ``gaps = -9999`` in dataset.toml.
        classes: labels that mark none, whatever they look like.
        missing: what is done about gaps in the inputs; labels, groups and names never have any.
    """

    stated: tuple[float | str, ...] = ()
    classes: tuple[str | int, ...] = ()
    missing: Missing = "refuse"

    @property
    def are_refused(self) -> bool:
        """Whether inputs may have none."""
        return self.missing == "refuse"

    @property
    def has_numbers(self) -> bool:
        """Whether a number marks one, which is no NaN as it stands."""
        return any(not isinstance(mark, str) for mark in self.stated)

    @property
    def of_ids(self) -> "Gaps":
        """Those among ids of sequences: no number is one, since it marks values."""
        return self._replace(stated=tuple(mark for mark in self.stated if isinstance(mark, str)))

    def is_gap(self, text: str) -> bool:
        """Whether a label, a group or a file name, without spaces around it, is none."""
        return self._is_one_of(_MARKS, text)

    def is_unlabelled(self, text: str) -> bool:
        """Whether a step with this label has none; other words that look so may be classes."""
        return self._is_one_of(_UNLABELLED, text)

    def among(self, numbers: np.ndarray) -> np.ndarray:
        """Where an array holds NaN or a number that is stated to be a gap, as a mask."""
        missing = numbers != numbers
        for mark in self.stated:
            if not isinstance(mark, str):
                missing |= numbers == mark
        return missing

    def _is_one_of(self, marks: frozenset[str], text: str) -> bool:
        """Whether it is one of these marks, or of those that are stated, and no class."""
        if text in map(str, self.classes):
            return False
        return text.lower() in marks or text in self.stated or _number(text) in self.stated


def way_out(what: str) -> str:
    """The end of a sentence about a gap where `what` was expected."""
    exception = ", or name it in classes if it is a class" if what == "label" else ""
    return f"; fill the gap{exception}"


def way_out_of_step(label: str) -> str:
    """The end of a sentence about the label of a step that looks like a gap."""
    return f'; add gaps = "{label}" if it stands for none, or name it in classes if it is a class'


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
