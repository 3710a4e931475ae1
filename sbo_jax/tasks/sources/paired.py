"""Batches of training samples paired with validation samples, for bilevel training."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._types import Source, Task


@dataclass(frozen=True)
class PairedSource:
    """Training sample i of n together with validation sample ``floor(i m / n)`` of m.

    Shuffled i give shuffled validation samples, as a function of the step alone. With n >= m, a
    pass visits each validation sample equally often, to within one. With n < m it visits n of them,
    spread evenly: sources may be sorted, by subject say, and the first n would be one subject's.
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
