"""How numbers are written in CSV files: separators between them, and points or commas in them."""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._types import DataError
from .table import LARGEST

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
# 0,061 read as 0 and 061, and -0,5 as -0 and 5
_HALF_A_NUMBER = re.compile(r"-0|[+-]?0[0-9]+")
_WHOLE = re.compile(r"[+-]?[0-9]+")

Line = tuple[int, Sequence[str]]


@dataclass(frozen=True)
class Notation:
    """Of the CSV files of a data set, as dataset.toml states it; `decimal` None where it does not.

    Raises:
        DataError: separator and decimal that cannot be told apart, or that are not known.
    """

    separator: str = ","
    decimal: str | None = None
    quote: str = '"'
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        if self.separator not in _SEPARATORS:
            known = ", ".join(repr(mark) for mark in _SEPARATORS)
            raise DataError(f"expected a separator among {known}, got {self.separator!r}")
        if self.decimal not in (None, ".", ","):
            raise DataError(f'expected decimal = "." or ",", got {self.decimal!r}')
        if self.decimal == self.separator:
            raise DataError(
                'expected a separator beside decimal = ",", got commas for both; try adding '
                'separator = ";"'
            )
        if len(self.quote) != 1 or not self.quote.isascii() or self.quote == self.separator:
            raise DataError(f'expected quote = "\'" or another character, got {self.quote!r}')
        if self.codec is None:
            raise DataError(
                f'expected encoding = "utf-8", "latin-1" or another that Python knows, got '
                f"{self.encoding!r}"
            )

    @property
    def codec(self) -> str | None:
        """Python's name of the encoding, None if it has none; a byte order mark is no text."""
        try:
            name = codecs.lookup(self.encoding).name
        except LookupError:
            return None
        return "utf-8-sig" if name == "utf-8" else name

    @property
    def dialect(self) -> dict[str, Any]:
        """What Python's reader of CSV files takes."""
        return {"delimiter": self.separator, "quotechar": self.quote}

    def number(self, cell: str) -> float:
        """A number as Python reads it, except for 1_000, which other programs refuse."""
        if self.decimal == ",":
            cell = cell.replace(".", "?").replace(",", ".")
        return float(cell.replace("_", "?"))

    def is_finite(self, cell: str) -> bool:
        """Whether it is a number in the range of float32."""
        try:
            return abs(self.number(cell)) <= LARGEST
        except ValueError:
            return False

    def no_number(self, cell: str, *, is_header: bool) -> str:
        """The end of the sentence about a cell that is no number."""
        known = (self.separator, self.decimal)
        others = [mark for mark in _SEPARATORS if mark not in known and mark in cell]
        is_comma = others == [","] and cell.count(",") == 1 and self.decimal != ","
        is_point = self.decimal == "," and cell.count(".") == 1 and "," not in cell
        mark = "," if is_comma else "." if is_point else None
        line = f"separator = {_toml(others[0])}" if others else ""
        line = line if mark is None else f'decimal = "{mark}"'
        expected = f"{line} in dataset.toml, or " if line else ""
        marks = _SEPARATORS[self.separator]
        numbers = f"finite numbers in the range of float32, separated by {marks}"
        hint = "; header_lines = 1 skips a header" if is_header and not others else ""
        return f"expected {expected}{numbers}, got {cell!r}{hint}"

    def other_separator(self, header: Sequence[str]) -> str:
        """The end of the sentence about a name that is not in this header."""
        others = [mark for mark in _SEPARATORS if any(mark in name for name in header)]
        return f"; try separator = {_toml(others[0])} in dataset.toml" if others else ""

    def check_no_half_numbers(self, where: str, lines: Sequence[Line]) -> None:
        """DataError for whole numbers alone that look like halves of numbers with a comma."""
        if self.decimal is not None or self.separator != ",":
            return
        cells = np.array([[cell.strip() for cell in cells] for _, cells in lines])
        if cells.shape[1] % 2 or not all(map(_WHOLE.fullmatch, cells.flat)):
            return
        digits = set(map(len, cells[:, 1::2].flat))
        if any(map(_HALF_A_NUMBER.fullmatch, cells.flat)) or (len(digits) == 1 and max(digits) > 1):
            raise DataError(
                f'{where}: expected to know what {",".join(cells[0])} is; add decimal = "." to '
                f"dataset.toml for {cells.shape[1]} whole numbers, or write the files with another "
                f'separator and add decimal = "," and separator = ";"'
            )


def integers_or_text(labels: Sequence[str], places: Sequence[str]) -> np.ndarray:
    """Labels as integers if all of them are, as text if none is; a mixture is an error."""
    # 01 is text: read as an integer, it would share the class of 1
    is_text = [not re.fullmatch("0|-?[1-9][0-9]{0,17}", label) for label in labels]
    if all(is_text):
        return np.array(labels)
    if any(is_text):
        odd = is_text.index(not is_text[0])
        kind = "text" if is_text[0] else "an integer"
        raise DataError(
            f"{places[odd]}: expected {kind} as label, as in {places[0]}, got {labels[odd]!r}; "
            f"labels are all integers or all words"
        )
    return np.array([int(label) for label in labels])


def _toml(mark: str) -> str:
    return '"\\t"' if mark == "\t" else f'"{mark}"'
