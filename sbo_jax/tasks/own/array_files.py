"""Data sets in `.npz` and `.npy` files; pickled arrays are refused."""

from pathlib import Path
from typing import Any

import numpy as np

from .._types import DataError
from ..faults import reading
from ..ragged import Ragged
from .description import Arrays
from .gaps import Gaps, way_out
from .table import LARGEST, Table, checked_inputs


def read(folder: Path, arrays: Arrays, metric: str, gaps: Gaps) -> Table:
    """The table of these arrays; DataError names the file, key and sample at fault."""
    inputs = _inputs(_array(folder, arrays.inputs), f"{folder / arrays.inputs}", gaps)
    labels = _stripped(_array(folder, arrays.labels))
    _check_labels(labels, len(inputs), f"{folder / arrays.labels}", metric, gaps)
    groups = None
    if arrays.groups is not None:
        groups = _stripped(_array(folder, arrays.groups))
        _check(groups, "iuU", (1,), "groups [samples]", f"{folder / arrays.groups}")
        _check_count(groups, len(inputs), f"{folder / arrays.groups}")
        _check_no_gap(groups, "group", f"{folder / arrays.groups}", gaps)
    places = [f"{folder / arrays.labels}, sample {i} (from 0)" for i in range(len(labels))]
    return Table(inputs, labels, groups, None, places)


def _inputs(inputs: np.ndarray, where: str, gaps: Gaps) -> Ragged:
    """Sequences of one length, checked."""
    if inputs.ndim != 3 or 0 in inputs.shape:
        hint = "; for one feature, store x[:, :, None]" if inputs.ndim == 2 else ""
        raise DataError(
            f"{where}: expected inputs [samples, steps, features], none of them 0, got shape "
            f"{inputs.shape}{hint}"
        )
    return checked_inputs(Ragged.of_equal(inputs), where, gaps)


def _stripped(array: np.ndarray) -> np.ndarray:
    """Text without spaces around it, as a CSV file's cells are read."""
    return np.char.strip(array) if array.dtype.kind == "U" else array


def _check_labels(labels: np.ndarray, count: int, where: str, metric: str, gaps: Gaps) -> None:
    if metric == "mse":
        _check(labels, "iuf", (1, 2), "targets [samples] or [samples, outputs]", where)
        bad = ~(np.abs(labels) <= LARGEST) | gaps.among(labels)
        if bad.any():
            raise _gap(labels, int(np.argwhere(bad)[0][0]), "finite label", where)
    elif labels.dtype.kind == "f":
        raise DataError(
            f"{where}: expected labels that are integers or text, got {labels.dtype}; store "
            'integers, or choose metric = "mse" to regress'
        )
    else:
        _check(labels, "biuU", (1,), "labels [samples], integers or text", where)
        _check_no_gap(labels, "label", where, gaps)
    _check_count(labels, count, where)


def _check_no_gap(names: np.ndarray, what: str, where: str, gaps: Gaps) -> None:
    for sample, name in enumerate(names):
        if gaps.is_gap(str(name)):
            raise _gap(names, sample, what, where)


def _gap(names: np.ndarray, sample: int, what: str, where: str) -> DataError:
    advice = way_out(what)
    return DataError(f"{where}: expected a {what}, got {names[sample]} in sample {sample}{advice}")


def _check(
    array: np.ndarray, kinds: str, ranks: tuple[int, ...], expected: str, where: str
) -> None:
    if array.ndim not in ranks or array.dtype.kind not in kinds or 0 in array.shape:
        raise DataError(f"{where}: expected {expected}, got shape {array.shape} of {array.dtype}")


def _check_count(array: np.ndarray, count: int, where: str) -> None:
    if len(array) != count:
        raise DataError(
            f"{where}: expected one entry for each of the {count} sequences, got {len(array)}"
        )


def _array(folder: Path, name: str) -> np.ndarray:
    """The array that `file.npy` or `file.npz:key` names."""
    file, _, key = (name, "", "") if name.endswith((".npy", ".npz")) else name.rpartition(":")
    path = folder / file
    if not path.is_file():
        raise DataError(f"expected an array in {path}, found no such file")
    expected = "expected arrays of numbers or text that np.load reads without unpickling"
    with reading(f"{path}: {expected}, got otherwise"), path.open("rb") as stream:
        return _member(np.load(stream, allow_pickle=False), path, key)


def _member(content: Any, path: Path, key: str) -> np.ndarray:
    """The array under this key; without a key, the only array of the file."""
    members = {"": content} if isinstance(content, np.ndarray) else content
    if not key and len(members) == 1:
        (key,) = members
    array = members.get(key)
    if not isinstance(array, np.ndarray):
        raise DataError(
            f'{path}: expected "{path.name}:KEY" with a key of that file '
            f"({', '.join(members)}), got {key or 'none'}"
        )
    return array
