"""Labels as the files have them, made targets: class numbers, or numbers to predict."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._types import DataError
from ..sources.ragged import Ragged
from ..sources.sequences import NO_CLASS, Targets
from .description import Description
from .table import Table, without_label


def targets(
    described: Description, parts: Mapping[str, Table]
) -> tuple[dict[str, Targets], list[Any]]:
    """Class numbers and the classes, or numbers to predict [N, k] or of every step, and none."""
    if described.horizon is not None:
        return _later_inputs(described, described.horizon, parts), []
    values = {name: part.label_values for name, part in parts.items()}
    if described.metric == "accuracy":
        numbers, classes = _class_numbers(described, parts, values)
    else:
        numbers, classes = _numbers(values), []
    return {name: _like(part.labels, numbers[name]) for name, part in parts.items()}, classes


def num_outputs(described: Description, part: Table) -> int:
    """k, of numbers to predict."""
    return part.num_outputs if described.horizon is None else part.inputs.values.shape[1]


def _later_inputs(
    described: Description, horizon: int, parts: Mapping[str, Table]
) -> dict[str, Targets]:
    for name, part in parts.items():
        longest = int(part.inputs.lengths.max())
        if longest <= horizon:
            raise DataError(
                f"{described.path}: expected {name} sequences of more than horizon = {horizon} "
                f"steps, got {longest} at most"
            )
    return {name: part.inputs.later(horizon) for name, part in parts.items()}


def _like(labels: Targets, values: np.ndarray) -> Targets:
    """These values in the place of those of the labels."""
    if isinstance(labels, Ragged):
        return Ragged(values, labels.starts, labels.lengths)
    return values


def _numbers(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: each.reshape(len(each), -1) for name, each in values.items()}


def _class_numbers(
    described: Description, parts: Mapping[str, Table], values: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], list[Any]]:
    _check_one_kind(described, values)
    found = {name: _different(part.labels) for name, part in parts.items()}
    known = found["train"].tolist()
    classes = list(described.classes or np.unique(np.concatenate(list(found.values()))).tolist())
    if len(known) < 2:
        one = f"{known[0]!r} alone" if known else "none"
        others = len(set().union(*(each.tolist() for each in found.values()))) > 1
        hint = "; the others are held out, so add samples" if others else ""
        raise DataError(
            f"{described.path}: expected training samples of two classes or more, got {one}{hint}"
        )
    _check_kind_of_classes(described, known)
    if unseen := [label for label in described.classes or () if label not in known]:
        raise DataError(
            f"{described.path}: expected training samples of every class, got none of "
            f"{unseen[0]!r}; leave it out of classes, or add samples"
        )
    for name, labels in found.items():
        for label in labels.tolist():
            if label not in classes:
                place = parts[name].place_of(label)
                raise DataError(f"{place}: expected a label among {classes}, got {label!r}")
            if label not in known:
                place = parts[name].place_of(label)
                hint = _if_number(label)
                raise DataError(
                    f"{place}: expected a label that training samples have, got {label!r} in "
                    f"{name}{hint}"
                )
    # Where steps have labels, parts of one table share all of them: encoded once.
    arrays = {id(each): each for each in values.values()}
    encoded = {key: _encoded(each, classes) for key, each in arrays.items()}
    return {name: encoded[id(each)] for name, each in values.items()}, classes


def _different(labels: Targets) -> np.ndarray:
    """The different labels of these samples, or of their steps."""
    blocks = labels.blocks() if isinstance(labels, Ragged) else [labels]
    return np.unique(np.concatenate([np.unique(each[~without_label(each)]) for each in blocks]))


def _if_number(label: str | int) -> str:
    """The end of a sentence about a label that looks like a number to predict."""
    is_real = isinstance(label, str) and re.fullmatch(r"[+-]?[0-9]*\.[0-9]+(e[+-]?[0-9]+)?", label)
    return '; if labels are numbers to predict, add metric = "mse"' if is_real else ""


def _check_kind_of_classes(described: Description, known: list[Any]) -> None:
    stated = described.classes
    if stated and isinstance(stated[0], str) != isinstance(known[0], str):
        kind = "text" if isinstance(known[0], str) else "integers"
        raise DataError(
            f"{described.path}: expected classes that are {kind} as the labels are, such as "
            f"{known[0]!r}, got {stated[0]!r}"
        )


def _encoded(labels: np.ndarray, classes: list[Any]) -> np.ndarray:
    """The number of the class of every label, `NO_CLASS` where there is none."""
    order = np.argsort(classes)
    found = np.searchsorted(classes, labels, sorter=order).clip(max=len(classes) - 1)
    return np.where(without_label(labels), NO_CLASS, order[found]).astype(np.int32)


def _check_one_kind(described: Description, values: Mapping[str, np.ndarray]) -> None:
    kinds = {each.dtype.kind == "U" for each in values.values()}
    if len(kinds) > 1:
        raise DataError(
            f"{described.path}: expected labels of one kind, got text in some files and integers "
            "in others"
        )
