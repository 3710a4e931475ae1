"""What a model answered for the test split, and which answers are resampled together.

RUN/answers.npz, where an experiment asks for it: intervals over several seeds resample the test
samples of all of them jointly.
"""

import io
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...disk.text import replace_bytes
from ...tasks._types import Task
from ...training.predictions import Predicted
from ...training.window_losses import WindowLosses


class Answers(NamedTuple):
    """N answers, which belong to U units: what a bootstrap draws with replacement.

    Attributes:
        metric: "accuracy", "mse" or "perplexity".
        targets: [N] classes by number, [N, k] numbers in their unit, or the words of windows [N].
        outputs: [N, K] probabilities, [N, k] numbers in their unit, or sums of nats [N].
        units: [N], from 0 to U - 1.
        unit: what a unit is: a group where the data have groups, else a sample or a window.
    """

    metric: str
    targets: np.ndarray
    outputs: np.ndarray
    units: np.ndarray
    unit: str

    @property
    def num_units(self) -> int:
        return int(self.units.max()) + 1 if len(self.units) else 0

    def is_paired_with(self, other: "Answers") -> bool:
        """Whether both are answers to the same questions."""
        return (self.metric, self.unit) == (other.metric, other.unit) and all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("targets", "units")
        )


def of_samples(task: Task, predicted: Predicted) -> Answers:
    """Answers in the order of the samples; all steps of a sample belong to its unit."""
    order = np.argsort(predicted.samples, kind="stable")
    targets, outputs, samples = (
        each[order] for each in (predicted.targets, predicted.outputs, predicted.samples)
    )
    unit, of_unit = "sample", samples
    if task.test_groups is not None:
        unit, of_unit = "group", task.test_groups[samples]
    units = np.unique(of_unit, return_inverse=True)[1]
    if task.metric == "accuracy":
        logits = jnp.asarray(outputs, jnp.float32)
        return Answers("accuracy", targets, np.asarray(jax.nn.softmax(logits)), units, unit)
    scale = np.ones(task.out_features) if task.target_std is None else np.asarray(task.target_std)
    return Answers("mse", targets * scale, outputs * scale, units, unit)


def of_windows(losses: WindowLosses) -> Answers:
    """The answers of a language model, window by window."""
    units = np.arange(len(losses.sums))
    return Answers("perplexity", losses.counts, losses.sums, units, "window")


def write_answers(path: Path, answers: Answers) -> None:
    """Half the precision of what is computed with is kept: float32."""
    content: dict[str, Any] = answers._asdict() | {"outputs": answers.outputs.astype(np.float32)}
    buffer = io.BytesIO()
    np.savez(buffer, **content)
    replace_bytes(path, buffer.getvalue())


def read_answers(path: Path) -> Answers | None:
    """None where there is no such file, or a damaged one."""
    try:
        with np.load(path) as file:
            found = {name: file[name] for name in Answers._fields}
    except Exception:  # whatever a damaged archive makes its reader raise
        return None
    return Answers(**found | {name: str(found[name]) for name in ("metric", "unit")})
