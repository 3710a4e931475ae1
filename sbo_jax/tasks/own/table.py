"""Labelled sequences as read from the files, before anything is split or encoded."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .._types import DataError
from .gaps import Gaps

# inputs are converted to float32
LARGEST = float(np.finfo(np.float32).max)


class Table(NamedTuple):
    """N sequences; `places[i]` names the file and the line (or sample) of label i."""

    inputs: np.ndarray  # [N, T, d] of a real type
    labels: np.ndarray  # [N] integers or text, or [N] or [N, k] numbers to regress
    groups: np.ndarray | None  # [N]
    splits: np.ndarray | None  # [N] "train", "validation" or "test"
    places: Sequence[str]
    features: Sequence[str] = ()  # their names, where the files have them

    def take(self, rows: np.ndarray) -> "Table":
        """The samples at these indices."""
        return Table(
            self.inputs[rows],
            self.labels[rows],
            None if self.groups is None else self.groups[rows],
            None if self.splits is None else self.splits[rows],
            [self.places[row] for row in rows],
            self.features,
        )

    def sha256(self) -> str:
        """A checksum of everything except the places: equal for equal data anywhere."""
        digest = hashlib.sha256()
        for array in (self.inputs, self.labels, self.groups, self.splits):
            if array is not None:
                digest.update(f"{array.dtype.str} {array.shape} ".encode())
                digest.update(array.tobytes())
            digest.update(b"|")
        return digest.hexdigest()


def checked_inputs(inputs: np.ndarray, where: str, gaps: Gaps) -> np.ndarray:
    """Inputs [N, T, d] of a real type, without gaps and in the range of float32."""
    if inputs.ndim != 3 or 0 in inputs.shape:
        hint = "; for one feature, store x[:, :, None]" if inputs.ndim == 2 else ""
        raise DataError(
            f"{where}: expected inputs [samples, steps, features], none of them 0, got shape "
            f"{inputs.shape}{hint}"
        )
    if inputs.dtype.kind not in "biuf":
        raise DataError(f"{where}: expected real numbers, got the type {inputs.dtype}")
    within = np.abs(inputs.astype(np.float64, copy=False)) <= LARGEST  # and no NaN
    within &= ~gaps.among(inputs)
    if not within.all():
        sample, step, feature = np.argwhere(~within)[0].tolist()
        with np.errstate(over="ignore"):
            value = np.float32(inputs[sample, step, feature])
        raise DataError(
            f"{where}: expected finite numbers in the range of float32, got {value} in sample "
            f"{sample}, step {step}, feature {feature} (counted from 0)"
        )
    return inputs
