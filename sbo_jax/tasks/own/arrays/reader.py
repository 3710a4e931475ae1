"""Data sets in `.npz` and `.npy` files; pickled arrays are refused.

The latter are mapped into memory, so that a data set may be larger than it.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import MAGIC_PREFIX

from ..._types import DataError
from ...faults import reading
from ...sources.ragged import Ragged
from ...sources.texts import Texts, numbered
from ..description import Arrays
from ..gaps import Gaps, way_out
from ..table import Table, check_range, checked_inputs
from . import step_labels


def read(folder: Path, arrays: Arrays, metric: str | None, gaps: Gaps) -> Table:
    """The table of these arrays; DataError names the file, key and sample at fault.

    Labels are read as `metric` needs them, and not at all for None.
    """
    where = f"{folder / arrays.inputs}"
    values = _array(folder, arrays.inputs)
    inputs = checked_inputs(_inputs(values, where, _offsets(folder, arrays)), where, gaps)
    groups = _groups(folder, arrays, len(inputs), gaps)
    if arrays.labels is None or metric is None:  # later inputs may take their place
        return _table(inputs, np.zeros(len(inputs)), groups, where)
    given = _stripped(_array(folder, arrays.labels))
    place = f"{folder / arrays.labels}"
    labels: np.ndarray | Ragged = given
    if arrays.per_step:
        labels = step_labels.of(given, values.shape[:-1], inputs, place, metric, gaps)
    else:
        _check_labels(given, len(inputs), place, metric, gaps)
    return _table(inputs, labels, groups, place)


def _table(
    inputs: Ragged, labels: np.ndarray | Ragged, groups: np.ndarray | None, where: str
) -> Table:
    places = Texts(len(inputs), lambda index: f"{where}, sample {index} (from 0)")
    return Table(inputs, labels, groups, None, places, numbered(len(inputs)))


def _groups(folder: Path, arrays: Arrays, count: int, gaps: Gaps) -> np.ndarray | None:
    if arrays.groups is None:
        return None
    where = f"{folder / arrays.groups}"
    groups = _stripped(_array(folder, arrays.groups))
    _check(groups, "iuU", (1,), "groups [samples]", where)
    _check_count(groups, count, where)
    _check_no_gap(groups, "group", where, gaps)
    return groups


def _inputs(inputs: np.ndarray, where: str, offsets: np.ndarray | None) -> Ragged:
    """Sequences of one length, or those between offsets."""
    if offsets is not None:
        return _between(inputs, where, offsets)
    if inputs.ndim != 3 or 0 in inputs.shape:
        hint = "; for one feature, store x[:, :, None]" if inputs.ndim == 2 else ""
        hint += ", and for sequences one after another add offsets" if hint else ""
        raise DataError(
            f"{where}: expected inputs [samples, steps, features], none of them 0, got shape "
            f"{inputs.shape}{hint}"
        )
    return Ragged.of_equal(inputs)


def _between(inputs: np.ndarray, where: str, offsets: np.ndarray) -> Ragged:
    if inputs.ndim != 2 or not inputs.shape[1]:
        hint = "; for one feature, store x[:, None]" if inputs.ndim == 1 else ""
        raise DataError(
            f"{where}: expected inputs [steps, features] together with offsets, got shape "
            f"{inputs.shape}{hint}"
        )
    if offsets[-1] != len(inputs):
        raise DataError(
            f"{where}: expected as many steps as the last offset says, {offsets[-1]}, got "
            f"{len(inputs)}"
        )
    return Ragged.stored(inputs, np.diff(offsets))


def _offsets(folder: Path, arrays: Arrays) -> np.ndarray | None:
    """[N + 1], rising from 0: sequence i has the steps offsets[i] to offsets[i + 1]."""
    if arrays.offsets is None:
        return None
    where = f"{folder / arrays.offsets}"
    offsets = _array(folder, arrays.offsets)
    _check(offsets, "iu", (1,), "offsets [samples + 1] that are integers", where)
    offsets = offsets.astype(np.int64)
    if offsets[0] != 0 or len(offsets) < 2:
        got = f"{offsets[0]} first" if offsets[0] else "0 alone"
        raise DataError(f"{where}: expected offsets from 0 to the number of steps, got {got}")
    lengths = np.diff(offsets)
    if (lengths < 1).any():
        sample = int(np.argmin(lengths > 0))
        raise DataError(
            f"{where}: expected offsets that rise, because every sequence has a step, got "
            f"{offsets[sample]} and then {offsets[sample + 1]} for sample {sample} (from 0)"
        )
    return offsets


def _stripped(array: np.ndarray) -> np.ndarray:
    """Text without spaces around it, as a CSV file's cells are read."""
    return np.char.strip(array) if array.dtype.kind == "U" else array


def _check_labels(labels: np.ndarray, count: int, where: str, metric: str, gaps: Gaps) -> None:
    if metric == "mse":
        _check(labels, "iuf", (1, 2), "targets [samples] or [samples, outputs]", where)
        missing = np.isnan(labels) | gaps.among(labels)
        if missing.any():
            raise _gap(labels, int(np.argwhere(missing)[0][0]), "finite label", where)
        check_range(labels, where)
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
        if stream.read(len(MAGIC_PREFIX)) == MAGIC_PREFIX:
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
            return _member(np.asarray(mapped), path, key)
        stream.seek(0)
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
