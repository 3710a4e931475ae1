"""What a model puts out, made answers in the user's words: classes by name, numbers in their unit.

classes      [N] or, of every step, N arrays [T_i]
numbers      [N] where one is predicted, else [N, k]; or N arrays [T_i] or [T_i, k]

Where there is no output, which is NaN then, the class is None and the number NaN.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..disk.text import Json
from ..tasks.sources.scaling import Scaler


@dataclass(frozen=True, eq=False)
class Answering:
    """The way from outputs [..., k] to answers.

    Attributes:
        classes: [k], the names of the classes; None where numbers are predicted.
        scaler: that of the numbers in training; None where they were not scaled.
        per_step: whether every step has an answer.
    """

    classes: np.ndarray | None
    scaler: Scaler | None
    per_step: bool

    @classmethod
    def of(cls, content: Json) -> "Answering":
        """What config.json says of it."""
        facts, model = content["task"], content["model"]
        classes = None
        if model["metric"] == "accuracy":
            classes = np.asarray(facts.get("classes") or np.arange(model["out_features"]))
        scaler = None
        if "target_mean" in facts:
            mean, std = (np.asarray(facts[f"target_{name}"]) for name in ("mean", "std"))
            scaler = Scaler(mean, std)
        return cls(classes, scaler, bool(model.get("per_step")))

    def check_classes(self) -> None:
        """ValueError unless there are classes, which have probabilities."""
        if self.classes is None:
            raise ValueError(
                "expected a run that predicts classes, got one of numbers; try predict"
            )

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """Of outputs [..., k], the most probable class, or the numbers in their unit."""
        if self.classes is not None:
            found, has_none = self.classes[outputs.argmax(axis=-1)], np.isnan(outputs).all(axis=-1)
            if has_none.any():
                found = found.astype(object)
                found[has_none] = None
            return found
        numbers = outputs.astype(np.float64)
        if self.scaler is not None:
            numbers = numbers * self.scaler.std + self.scaler.mean
        return numbers[..., 0] if numbers.shape[-1] == 1 else numbers

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """[..., k] float64, which add up to 1."""
        exponents = outputs.astype(np.float64)
        powers = np.exp(exponents - exponents.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)


def each(
    change: Callable[[np.ndarray], np.ndarray], outputs: np.ndarray | list[np.ndarray]
) -> np.ndarray | list[np.ndarray]:
    """The change of an array, or of every one in a list."""
    return [change(one) for one in outputs] if isinstance(outputs, list) else change(outputs)
