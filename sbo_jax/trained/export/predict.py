"""Answers of a model that was trained with sbo_jax; needs jax, flatbuffers and numpy alone.

    python predict.py data.npy    of sequences [N, T, d], an answer a line
    python predict.py data.npz    of unequal lengths: np.savez("data.npz", *sequences)

In Python, of an array [N, T, d] or of N arrays [T_i, d], in the units of the training data:

    model = Model("model.zip")    # or the folder where it was unpacked
    model.predict(data)           # classes or numbers [N]; of every step, N arrays [T_i],
                                  # None or NaN before the first step that is read
    model.predict_proba(data)     # [N, classes]; of every step, N arrays [T_i, classes]
"""
# SPDX-License-Identifier: Apache-2.0

import hashlib
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.export
import numpy as np

AT_ONCE = 64  # sequences; fewer take less memory


class Model:
    """Reads model.json, and the program beside it."""

    def __init__(self, place: str | Path = Path(__file__).parent):
        folder: Any = zipfile.Path(place) if zipfile.is_zipfile(place) else Path(place)
        try:
            self.content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
            program = (folder / self.content["program"]["file"]).read_bytes()
        except Exception as error:  # whatever a damaged zip makes its reader raise
            fail(str(place), "model.json and its program", f"none that can be read ({error})")
        if hashlib.sha256(program).hexdigest() != self.content["program"]["sha256"]:
            raise ValueError("expected the program that model.json describes, got another one")
        self.program = jax.jit(jax.export.deserialize(bytearray(program)).call)

    def predict(self, data: Any) -> Any:
        """Classes by name, or numbers in their unit."""
        return self._changed(self._answers, data)

    def predict_proba(self, data: Any) -> Any:
        """The probability of every class, in the order of model.json."""
        if self.content["answers"]["classes"] is None:
            raise ValueError("expected a model of classes, got one of numbers; try predict")
        return self._changed(softmax, data)

    def _answers(self, outputs: np.ndarray) -> np.ndarray:
        answers = self.content["answers"]
        if answers["classes"] is not None:
            found = np.array(answers["classes"])[outputs.argmax(axis=-1)]
            has_none = np.isnan(outputs).all(axis=-1)
            if has_none.any():
                found = found.astype(object)
                found[has_none] = None
            return found
        numbers = outputs.astype(np.float64)
        if answers["std"] is not None:
            numbers = numbers * np.array(answers["std"]) + np.array(answers["mean"])
        return numbers[..., 0] if numbers.shape[-1] == 1 else numbers

    def _changed(self, change: Callable[[np.ndarray], np.ndarray], data: Any) -> Any:
        """The change of the outputs for every sequence, or for every step of each."""
        if any(isinstance(x, np.ma.MaskedArray) for x in [data, *data]):
            fail("data", "NaN for a gap", "a masked array; try x.filled(np.nan)")
        raw = [np.asarray(x) for x in data]
        if not raw:
            raise ValueError("expected one sequence or more, got none")
        read = [as_read(x, self.content["inputs"], f"sample {n}") for n, x in enumerate(raw)]
        outputs = self._outputs([inputs for inputs, _ in read])
        if self.content["answers"]["of"] == "sequence":
            return change(finite(np.stack(outputs)))
        of_steps = zip(outputs, [steps for _, steps in read], raw, strict=True)
        return [change(at_every_step(each, steps, len(x))) for each, steps, x in of_steps]

    def _outputs(self, sequences: list[np.ndarray]) -> list[np.ndarray]:
        """What the program puts out, [k] or [T, k] each; it is compiled for one shape."""
        outputs: list[np.ndarray] = []
        size, longest = min(AT_ONCE, len(sequences)), max(map(len, sequences))
        for start in range(0, len(sequences), AT_ONCE):
            chunk = sequences[start : start + AT_ONCE]
            inputs = np.zeros((size, longest, chunk[0].shape[1]), np.float32)
            lengths = np.ones(size, np.int32)
            for row, sequence in enumerate(chunk):
                inputs[row, : len(sequence)], lengths[row] = sequence, len(sequence)
            outputs += [*np.asarray(self.program(inputs, lengths))[: len(chunk)]]
        return outputs


def as_read(x: np.ndarray, told: dict[str, Any], name: str) -> tuple[np.ndarray, np.ndarray]:
    """What the program reads of a sequence [T, d], scaled, and the numbers of its steps."""
    mean, std = np.array(told["mean"]), np.array(told["std"])
    if x.ndim != 2 or x.shape[1] != len(mean) or x.dtype.kind not in "biuf":
        fail(name, f"numbers [steps, {len(mean)} features]", f"the shape {x.shape} of {x.dtype}")
    gaps = np.isnan(x)
    for mark in told["gap_marks"]:
        gaps |= x == mark
    x = np.where(gaps, np.nan, x.astype(np.float64))
    if np.isinf(x).any() or (gaps.any() and told["gaps"] == "refuse"):
        fail(name, "finite numbers", "a gap" if gaps.any() else "an infinite one")
    if told["gaps"] == "carry":  # the last value of a feature, if it has one
        last = np.maximum.accumulate(np.where(gaps, -1, np.arange(len(x))[:, None]))
        x = np.where(last < 0, np.nan, np.take_along_axis(x, last.clip(0), axis=0))
    steps = np.flatnonzero(~np.isnan(x).all(axis=1))  # others are gaps alone
    if len(steps) == 0:
        fail(name, "a step with values", "none")
    most, keep = told["max_length"], told["keep"]
    if most and len(steps) > most and keep is None:
        fail(name, f"at most {most} steps", f"{len(steps)}")
    steps = steps[-most:] if keep == "end" else steps[:most]
    if told["length"] not in (None, len(steps)):
        fail(name, f"{told['length']} steps, as in training", f"{len(steps)}")
    scaled = (x[steps] - mean) / std
    gaps = np.isnan(scaled)
    return np.hstack([np.where(gaps, 0, scaled), gaps[:, told["indicated"]]]), steps


def fail(name: str, expected: str, got: str) -> NoReturn:
    """ValueError in one sentence."""
    raise ValueError(f"{name}: expected {expected}, got {got}")


def at_every_step(outputs: np.ndarray, steps: np.ndarray, length: int) -> np.ndarray:
    """[length, k]: a step that was not read has the output of the one before it, or else NaN."""
    last = np.searchsorted(steps, np.arange(length), "right") - 1
    return np.where(last[:, None] < 0, np.nan, finite(outputs[: len(steps)])[last])


def finite(outputs: np.ndarray) -> np.ndarray:
    """The outputs; ValueError unless all are finite."""
    if not np.isfinite(outputs).all():
        raise ValueError("expected finite outputs, got others; look for values far from training's")
    return outputs


def softmax(outputs: np.ndarray) -> np.ndarray:
    """Probabilities [..., k] that add up to 1."""
    powers = np.exp(outputs.astype(np.float64) - outputs.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def loaded(path: str) -> Any:
    """The array in a .npy file, or those in a .npz file in their order there."""
    try:
        file = np.load(path)
        if isinstance(file, np.lib.npyio.NpzFile):
            return [file[name] for name in file.files]
    except Exception as error:  # whatever a damaged file makes its reader raise
        fail(path, "numbers in a file .npy or .npz", f"none that can be read ({error})")
    if file.ndim != 3:
        hint = "; one sequence is x[None]" if file.ndim == 2 else ""
        fail(path, "an array [N, T, d]", f"the shape {file.shape}{hint}")
    return file


def main(arguments: list[str]) -> int:
    """The exit code: 2 with a sentence for whatever cannot be answered."""
    try:
        if len(arguments) != 1:
            fail("python predict.py FILE", "one file, .npy or .npz", f"{len(arguments)}")
        for answer in Model().predict(loaded(arguments[0])):
            print(*np.atleast_1d(answer).tolist(), sep=",")
    except (OSError, ValueError) as error:
        print(f"predict.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
