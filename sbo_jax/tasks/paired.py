"""Batches that hold validation samples beside the training samples, for bilevel training."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._types import Source, Task


@dataclass(frozen=True)
class PairedSource:
    """Training sample i of n together with validation sample ``floor(i m / n)`` of m.

    Batches are drawn from shuffled i, so that validation samples come shuffled as well, and as a
    function of the step alone. With n >= m each comes as often as any other, give or take once;
    with n < m only n of them do, which lie evenly among all: sources may be sorted, by subject
    say, and the first n would be those of one subject.
    """

    train: Source
    validation: Source

    def __len__(self) -> int:
        return len(self.train)

    def fetch(self, indices: np.ndarray) -> tuple[Any, Any]:
        """Inputs and targets, each a pair (training, validation)."""
        inputs, targets = self.train.fetch(indices)
        held_inputs, held_targets = self.validation.fetch(self._held(indices))
        return (inputs, held_inputs), (targets, held_targets)

    def _held(self, indices: np.ndarray) -> np.ndarray:
        return indices * len(self.validation) // len(self.train)


def paired(task: Task) -> Task:
    """The task with pairs in its training batches."""
    return replace(task, train=PairedSource(task.train, task.validation))
