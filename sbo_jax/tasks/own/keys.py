"""The keys of dataset.toml and the types of their values."""

import functools
import json
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

import msgspec

from ..._checks import did_you_mean
from .._types import DataError

_KINDS = {"str": "text", "float": "a fraction", "int": "an integer", "object": "a table"}
_KINDS |= {"array": "a list", "bool": "true or false"}

Metric = Literal["accuracy", "mse"]
Missing = Literal["refuse", "carry", "mask"]
Keep = Literal["start", "end"]
_CHOICES: Mapping[str, Any] = {"metric": Metric, "missing": Missing, "keep": Keep}


class Files(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`file.npy` or `file.npz:key` of inputs [N, T, d] and of labels [N] (mse: also [N, k]).

    With offsets [N + 1], inputs are [S, d]: sequence i has the steps offsets[i] to offsets[i + 1].
    """

    inputs: str
    labels: str | None = None
    offsets: str | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, str) and not re.search(r"\.(npy|npz|npz:.+)$", value):
                raise DataError(f'expected "FILE.npy" or "FILE.npz:KEY" for {name}, got {value!r}')


class Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The keys of dataset.toml and their types."""

    inputs: str | None = None
    labels: str | None = None
    offsets: str | None = None
    groups: str | None = None
    per_step: bool | None = None
    index: str | None = None
    sequences: str | None = None
    archive: str | None = None
    header_lines: int | None = None
    separator: str | None = None
    decimal: str | None = None
    quote: str | None = None
    encoding: str | None = None
    table: str | tuple[str, ...] | None = None
    sequence: str | None = None
    time: str | None = None
    max_gap: float | None = None
    features: tuple[str, ...] | None = None
    label: str | tuple[str, ...] | None = None
    group: str | None = None
    split: str | None = None
    prepared: bool | None = None
    gaps: float | str | tuple[float | str, ...] = ()
    missing: Missing = "refuse"
    horizon: int | None = None
    max_length: int | None = None
    keep: Keep | None = None
    metric: Metric | None = None
    classes: tuple[Any, ...] | None = None
    validation: float | Files | None = None
    test: float | Files | None = None


def read(content: Mapping[str, Any]) -> Keys:
    """These keys and values; DataError for those that do not exist or are of another type."""
    try:
        return msgspec.convert(content, Keys)
    except msgspec.ValidationError as fault:
        message, _, path = str(fault).partition(" - at `$.")
        raise DataError(_explained(message, path.rstrip("`"), content)) from fault


def check_labelled(content: Keys) -> None:
    """DataError for keys that do not say what is to be predicted."""
    if content.horizon is not None:
        return
    if content.table is not None and not content.label:
        raise DataError('expected label = "COLUMN" together with table, got none')
    if content.inputs is not None and content.labels is None:
        raise DataError("expected either inputs and labels, or index, got no labels")


def check_horizon(content: Keys) -> None:
    """DataError for keys that say something else of what is predicted."""
    if content.horizon is None:
        return
    if content.horizon < 1:
        raise DataError(f"expected horizon >= 1, got {content.horizon}; try 1, the next step")
    for name in ("label", "labels", "per_step", "classes", "index", "archive"):
        if getattr(content, name) is not None:
            raise DataError(
                f"expected inputs or table together with horizon, got {name}; leave one out"
            )
    if content.metric == "accuracy":
        raise DataError('expected metric = "mse" together with horizon; leave metric out')
    if content.missing != "refuse":
        raise DataError(
            f'expected missing = "refuse" together with horizon, whose targets would be made up, '
            f'got "{content.missing}"; fill the gaps yourself'
        )


def _explained(message: str, key: str, content: Mapping[str, Any]) -> str:
    """A sentence for msgspec's message about the value at a key, such as test.inputs ("": all)."""
    where, value = f"{key}: " if key else "", functools.reduce(_value, key.split("."), content)
    if unknown := re.fullmatch("Object contains unknown field `(.*)`", message):
        known = (Files if key else Keys).__struct_fields__
        hint = did_you_mean(unknown[1], known)
        return f"{where}expected keys among {', '.join(known)}, got {unknown[1]}{hint}"
    if missing := re.fullmatch("Object missing required field `(.*)`", message):
        return f"{where}expected inputs and labels, got no {missing[1]}"
    if key in _CHOICES:
        return _no_choice(key, value)
    if key == "max_gap":
        return (
            f"expected a number for max_gap, in seconds where time has dates, got {value!r}; try "
            "max_gap = 1"
        )
    if kinds := re.fullmatch("Expected `(.*)`, got `.*`", message):
        words = [_KINDS.get(kind, kind) for kind in kinds[1].split(" | ") if kind != "null"]
        return f"expected {' or '.join(words)} for {key}, got {value!r}"
    return where + message


def _no_choice(key: str, value: Any) -> str:
    names = [f'"{name}"' for name in get_args(_CHOICES[key])]
    sentence = f"expected {key} = {', '.join(names[:-1])} or {names[-1]}, got {value!r}"
    if key == "missing":  # which was the key of the marks
        sentence += f"; what marks a gap is stated by gaps = {json.dumps(value, default=str)}"
    return sentence


def _value(content: Any, key: str) -> Any:
    return content[key] if key else content
