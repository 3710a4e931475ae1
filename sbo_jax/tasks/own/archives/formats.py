"""The grammar of `.ts` and `.arff` files, in which the UCR and UEA archives come.

A reader of our own, because it is short and needs no installation. aeon reads both too, but brings
numba and pandas, takes NumPy back below the version that JAX installs, writes class names in small
letters, and of time stamps keeps neither stamps nor signs. Its values are the oracle of
`tests/aeon_archives.py`: numbers are read by the same `float`, so they are equal bit for bit.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from ..._types import DataError
from ...faults import reading

Line: TypeAlias = tuple[int, str]
"""The number of a line, from 1, and its text."""

_ATTRIBUTE = re.compile(r"""@attribute\s+(?:'[^']*'|"[^"]*"|\S+)\s+(\S.*)""", re.IGNORECASE)
_NUMERIC = ("numeric", "real", "integer")


class Header(NamedTuple):
    """What precedes the data.

    Attributes:
        predicts_numbers: whether labels are numbers to predict, and not classes.
        classes: the names of all classes, where the file lists them.
        has_labels: whether sequences end with one.
    """

    predicts_numbers: bool
    classes: tuple[str, ...]
    has_labels: bool = True


class Row(NamedTuple):
    """One sequence as it is written: the numbers of every feature, separated by commas."""

    line: int
    features: list[str]
    label: str


def opened(path: Path) -> tuple[Header, Iterator[Row]]:
    """The header of a file, and its sequences, which are read as they are asked for."""
    lines = _lines(path)
    return GRAMMARS[path.suffix](path, lines)


def _lines(path: Path) -> Iterator[Line]:
    """All lines but blank ones and comments, which may be of any encoding."""
    with reading(f"{path}: expected text in UTF-8, got otherwise"), path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if text := "" if line.startswith((b"#", b"%")) else line.decode("utf-8-sig").strip():
                yield number, text


def _header(path: Path, lines: Iterator[Line]) -> Iterator[Line]:
    """The lines before @data."""
    for number, text in lines:
        if text.lower() == "@data":
            return
        yield number, text
    raise DataError(f"{path}: expected a line @data before the sequences, got none")


def _ts(path: Path, lines: Iterator[Line]) -> tuple[Header, Iterator[Row]]:
    tags = {}
    for number, text in _header(path, lines):
        tag, *values = text.split()
        tags[tag.lower()] = values
        if tag.lower() == "@timestamps" and _is_true(values):
            raise DataError(
                f"{path}, line {number}: expected @timeStamps false, got true; write the values "
                "without stamps, and the time between two steps as another feature if it varies"
            )
    classes = tags.get("@classlabel", ["true"])
    predicts_numbers = _is_true(tags.get("@targetlabel", []))
    has_labels = predicts_numbers or _is_true(classes)
    names = () if predicts_numbers or not has_labels else tuple(classes[1:])
    rows = _ts_rows(path, lines) if has_labels else _unlabelled_ts_rows(lines)
    return Header(predicts_numbers, names, has_labels), rows


def _is_true(values: list[str]) -> bool:
    return [value.lower() for value in values[:1]] == ["true"]


def _ts_rows(path: Path, lines: Iterator[Line]) -> Iterator[Row]:
    for number, text in lines:
        *features, label = text.split(":")
        if not features:
            raise DataError(
                f"{path}, line {number}: expected the numbers of every feature and a label, "
                "separated by colons, got no colon"
            )
        yield Row(number, features, label.strip())


def _unlabelled_ts_rows(lines: Iterator[Line]) -> Iterator[Row]:
    for number, text in lines:
        yield Row(number, text.split(":"), "")


def _arff(path: Path, lines: Iterator[Line]) -> tuple[Header, Iterator[Row]]:
    header = list(_header(path, lines))
    kinds = [found[1] for _, text in header if (found := _ATTRIBUTE.fullmatch(text))]
    if not kinds or not (kinds[-1].startswith("{") or kinds[-1].lower() in _NUMERIC):
        got = kinds[-1] if kinds else "none"
        raise DataError(
            f"{path}: expected a last attribute that is a list of classes in braces, or numeric, "
            f"got {got}"
        )
    names = kinds[-1].strip("{}").split(",") if kinds[-1].startswith("{") else []
    is_relational = any(kind.lower() == "relational" for kind in kinds)
    rows = _relational_rows(path, lines) if is_relational else _flat_rows(path, lines, len(kinds))
    return Header(not names, tuple(name.strip() for name in names)), rows


def _flat_rows(path: Path, lines: Iterator[Line], width: int) -> Iterator[Row]:
    for number, text in lines:
        if (got := text.count(",") + 1) != width:
            raise DataError(
                f"{path}, line {number}: expected {width} values, one for each attribute, got {got}"
            )
        values, _, label = text.rpartition(",")
        yield Row(number, [values], label.strip())


def _relational_rows(path: Path, lines: Iterator[Line]) -> Iterator[Row]:
    r"""Features are quoted together, with ``\n`` between them, which is two characters."""
    for number, text in lines:
        quoted = re.fullmatch(r"""(['"])(.*)\1\s*,(.*)""", text)
        if not quoted:
            raise DataError(
                f"{path}, line {number}: expected the numbers of all features in quotes, a comma "
                "and a label, got otherwise"
            )
        yield Row(number, quoted[2].split(r"\n"), quoted[3].strip())


GRAMMARS = MappingProxyType({".ts": _ts, ".arff": _arff})
"""By the ending of a file."""
