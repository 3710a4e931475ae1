"""dataset.toml: which files hold a data set, and how it is split.

Of arrays:                                  Of one CSV file per sequence:

    inputs = "all.npz:signals"                  index = "index.csv"
    labels = "all.npz:activity"                 sequences = "recordings"
    groups = "all.npz:subject"                  header_lines = 1
    metric = "accuracy"                         metric = "mse"
    test = 0.2                                  test = 0.2
    validation = {inputs = ..., labels = ...}   validation = 0.2

Only inputs and labels, or index, are needed.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from .._types import DataError

FILE = "dataset.toml"
_HELD_OUT = 0.2
_TEXT, _SHARE = (str,), (float, int, dict)
_ARRAYS = {"inputs": _TEXT, "labels": _TEXT}
_KEYS: dict[str, tuple[type, ...]] = {
    **_ARRAYS,
    "groups": _TEXT,
    "index": _TEXT,
    "sequences": _TEXT,
    "header_lines": (int,),
    "metric": _TEXT,
    "classes": (list,),
    "validation": _SHARE,
    "test": _SHARE,
}
_TYPE_NAMES = {str: "text", float: "a fraction", int: "an integer", dict: "a table", list: "a list"}


@dataclass(frozen=True)
class Arrays:
    """`file.npy` or `file.npz:key` of inputs [N, T, d], labels [N] and, if given, groups [N]."""

    inputs: str
    labels: str
    groups: str | None = None


@dataclass(frozen=True)
class Sequences:
    """A folder of CSV files, one per sequence, and the index that labels them."""

    index: str
    folder: str
    header_lines: int


@dataclass(frozen=True)
class Description:
    """What dataset.toml says; paths are relative to its folder.

    Attributes:
        test: a fraction of all samples, or files.
        validation: a fraction of what is left, or files.
        classes: the labels there may be, in the order of the outputs.
    """

    path: Path
    data: Arrays | Sequences
    metric: Literal["accuracy", "mse"]
    classes: tuple[str | int, ...] | None
    test: float | Arrays
    validation: float | Arrays
    given: frozenset[str]


def read(path: Path) -> Description:
    """Read the file, or the one in this folder; DataError names it and the key at fault."""
    file = path / FILE if path.is_dir() else path
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        return _description(file, content)
    except FileNotFoundError as fault:
        raise DataError(
            f"expected a description of the data set at {file}, found no such file; try the "
            "example in docs/own_data.md"
        ) from fault
    except (OSError, ValueError) as fault:  # TOML's and Unicode's errors are ValueErrors
        raise DataError(f"{file}: {fault}") from fault


def _description(file: Path, content: Mapping[str, Any]) -> Description:
    _check(content, _KEYS)
    metric = content.get("metric", "accuracy")
    if metric not in ("accuracy", "mse"):
        raise DataError(f'expected metric = "accuracy" or "mse", got {metric!r}')
    return Description(
        path=file,
        data=_data(content),
        metric=cast(Literal["accuracy", "mse"], metric),
        classes=_classes(content),
        test=_held_out("test", content),
        validation=_held_out("validation", content),
        given=frozenset(content),
    )


def _data(content: Mapping[str, Any]) -> Arrays | Sequences:
    if "index" not in content:
        for name in ("sequences", "header_lines"):
            if name in content:
                raise DataError(f"expected {name} together with index alone; leave it out")
        return _arrays(content, "either inputs and labels, or index")
    for name in ("inputs", "labels", "groups"):
        if name in content:
            raise DataError(
                f"expected either inputs and labels, or index, got index and {name}; the columns "
                "file, label, group and split of the index say what belongs together"
            )
    header_lines = content.get("header_lines", 0)
    if header_lines < 0:
        raise DataError(f"expected header_lines >= 0, got {header_lines}")
    return Sequences(content["index"], content.get("sequences", "."), header_lines)


def _arrays(content: Mapping[str, Any], expected: str) -> Arrays:
    for name in _ARRAYS:
        if name not in content:
            raise DataError(f"expected {expected}, got no {name}")
    for name in (*_ARRAYS, "groups"):
        value = content.get(name, ".npy")
        if not re.search(r"\.(npy|npz|npz:.+)$", value):
            raise DataError(f'expected "FILE.npy" or "FILE.npz:KEY" for {name}, got {value!r}')
    return Arrays(content["inputs"], content["labels"], content.get("groups"))


def _held_out(name: str, content: Mapping[str, Any]) -> float | Arrays:
    value = content.get(name, _HELD_OUT)
    if isinstance(value, dict):
        try:
            _check(value, _ARRAYS)
            return _arrays(value, "inputs and labels")
        except DataError as fault:
            raise DataError(f"{name}: {fault}") from fault
    if not 0 < value < 1:
        raise DataError(f"expected {name} between 0 and 1 (or files), got {value}; try 0.2")
    return value


def _classes(content: Mapping[str, Any]) -> tuple[str | int, ...] | None:
    if "classes" not in content:
        return None
    classes = content["classes"]
    kinds = {type(name) for name in classes}
    if kinds not in ({str}, {int}) or len(set(classes)) < max(2, len(classes)):
        raise DataError(
            f"expected two or more different classes, all text or all integers, got {classes}"
        )
    if content.get("metric", "accuracy") != "accuracy":
        raise DataError('expected classes with metric = "accuracy" alone; leave them out')
    return tuple(classes)


def _check(content: Mapping[str, Any], known: Mapping[str, tuple[type, ...]]) -> None:
    for name, value in content.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise DataError(f"expected keys among {', '.join(known)}, got {name}{hint}")
        if type(value) not in known[name]:  # true is an int to isinstance
            kinds = " or ".join(_TYPE_NAMES[kind] for kind in known[name])
            raise DataError(f"expected {kinds} for {name}, got {value!r}")
