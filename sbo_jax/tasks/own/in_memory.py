"""Sequences that are in memory already: an array, or one array for each."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from ..._words import counted
from .. import splits
from .._types import DataError, Request, Task
from ..sources.ragged import Ragged
from ..sources.sequences import Labelled, sequence_task
from ..sources.texts import Texts, numbered
from . import keys, missing
from .gaps import Gaps
from .recipe import recipe_of
from .table import Table, check_range, checked_inputs


def as_sequences(inputs: Any) -> Ragged:
    """The sequences of an array [N, T, d], or of N arrays [T_i, d]; of any real type.

    Raises:
      DataError: anything else, none at all, or a sequence without a step.
    """
    if isinstance(inputs, Ragged):
        return inputs
    if isinstance(inputs, list | tuple):
        return _of_many(inputs)
    array = as_array(inputs)
    if array.ndim == 0:
        raise DataError(
            "expected an array of sequences [samples, steps, features], or a list of them, got "
            f"{type(inputs).__name__}"
        )
    if array.ndim != 3:
        raise DataError(
            f"expected sequences [samples, steps, features], got the shape {array.shape}"
            f"{_way_out(array)}"
        )
    if 0 in array.shape:
        raise DataError(f"expected samples, steps and features, got the shape {array.shape}")
    return Ragged.of_equal(_real(array))


def as_array(values: Any) -> np.ndarray:
    """Values as NumPy has them; DataError where a mask would be dropped."""
    check_no_mask(values)
    return np.asarray(values)


def check_no_mask(values: Any) -> None:
    """DataError for a masked array, or for one in a list."""
    several = values if isinstance(values, list | tuple) else [values]
    if any(isinstance(each, np.ma.MaskedArray) for each in several):
        raise DataError("expected NaN for a gap, got a masked array; try x.filled(np.nan)")


def task_of(
    inputs: Ragged,
    targets: np.ndarray,
    classes: Sequence[Any] | None,
    *,
    validation: float,
    gaps: str,
    seed: int,
) -> Task:
    """The task `folder` of samples that are in memory; none of them is held out for a test.

    Args:
        inputs: N sequences.
        targets: [N], numbers of classes, each of which occurs; or [N, k], numbers to predict.
        classes: the names of the classes; None for numbers to predict.
        validation: the fraction of samples, of every class alike, that is held out for validation,
            0 < validation < 1: at least one sample, and never the last one of its class.
        gaps: what is done about them, as ``missing`` of dataset.toml says it.
        seed: decides which samples are held out.

    Raises:
        DataError: too few samples, or numbers that cannot be scaled.
    """
    if classes is None:
        check_range(targets, "targets")
    described = keys.read({"inputs": "inputs.npy", "labels": "labels.npy", "missing": gaps})
    treated = Gaps(missing=described.missing)
    places = Texts(len(inputs), lambda index: f"sample {index}")
    checked, ids = checked_inputs(inputs, "inputs", treated), numbered(len(inputs))
    table = Table(checked, targets, None, None, places, ids)
    alike = np.zeros(len(targets), int) if classes is None else targets
    kept, held = _held_out(alike, validation, seed)
    parts = {"train": table.take(kept), "validation": table.take(held)}
    parts, facts = missing.resolved(parts, treated)
    samples = {name: Labelled(part.inputs, part.label_values) for name, part in parts.items()}
    return sequence_task(
        "folder",
        {**samples, "test": samples["train"].take(np.zeros(0, int))},
        Request(seed),
        out_features=targets.shape[1] if classes is None else len(classes),
        metric="mse" if classes is None else "accuracy",
        recipe_of=recipe_of,
        facts={"classes": [] if classes is None else list(classes), **facts},
        layout=msgspec.to_builtins(described),
    )


def _held_out(classes: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Kept and held-out indices; the last sample of a class is kept."""
    count = min(max(1, round(fraction * len(classes))), len(classes) - 1)
    _, held = splits.stratified(classes, count, seed)
    last = np.setdiff1d(classes, np.delete(classes, held))
    held = held[~np.isin(classes[held], last)]
    if not held.size:
        one = len(classes) == 1
        got = "1 sample" if one else f"{len(classes)} samples of {len(classes)} classes"
        raise DataError(
            f"expected two samples or more{'' if one else ' of some class'}, one of them for "
            f"validation, got {got}"
        )
    return np.delete(np.arange(len(classes)), held), held


def _of_many(sequences: Sequence[Any]) -> Ragged:
    if not sequences:
        raise DataError("expected one sequence or more, got none")
    arrays = [_real(as_array(each)) for each in sequences]
    width = arrays[0].shape[-1] if arrays[0].ndim else 0
    for number, array in enumerate(arrays):
        if array.ndim != 2 or 0 in array.shape:
            raise DataError(
                f"expected every sequence as [steps, features], got the shape {array.shape} for "
                f"sequence {number} (counted from 0){_way_out(array[None])}"
            )
        if array.shape[1] != width:
            raise DataError(
                f"expected {counted(width, 'feature')} in every sequence, as in the first, got "
                f"{array.shape[1]} in sequence {number} (counted from 0)"
            )
    return Ragged.of(arrays)


def _real(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise DataError(f"expected real numbers, got the type {array.dtype}")
    return array


def _way_out(array: np.ndarray) -> str:
    """What may be meant by an array of another number of axes."""
    if array.ndim != 2:
        return ""
    return "; one sequence is x[None], and one feature is x[..., None]"
