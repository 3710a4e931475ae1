"""Batches that hold validation samples beside the training samples, for bilevel training."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._types import Source, Task


@dataclass(frozen=True)
class PairedSource:
    """Training sample i together with validation sample ``i modulo their number``.

    Batches are drawn from shuffled i, so that validation samples come shuffled as well, each as
    often as the others where there are more training samples, and as a function of the step alone.
    """

    train: Source
    validation: Source

    def __len__(self) -> int:
        return len(self.train)

    def fetch(self, indices: np.ndarray) -> tuple[Any, Any]:
        """Inputs and targets, each a pair (training, validation)."""
        inputs, targets = self.train.fetch(indices)
        held_inputs, held_targets = self.validation.fetch(indices % len(self.validation))
        return (inputs, held_inputs), (targets, held_targets)


def paired(task: Task) -> Task:
    """The task with pairs in its training batches."""
    return replace(task, train=PairedSource(task.train, task.validation))
