"""Which epoch is kept: a score of it and of what validation says, the higher the better."""

from collections.abc import Callable
from typing import TypeAlias

from .objectives import Objective

Score: TypeAlias = tuple[float, ...]
"""Compared entry by entry, so that later ones break ties of earlier ones."""
Selection: TypeAlias = Callable[[Objective, int, float, float], Score]
"""``(objective, epoch, validation metric, validation loss) -> score``."""


def by_metric(objective: Objective, epoch: int, metric: float, loss: float) -> Score:
    """The metric alone: of epochs that are as good, the first."""
    return (metric if objective.higher_is_better else -metric,)


def by_loss(objective: Objective, epoch: int, metric: float, loss: float) -> Score:
    """The loss alone, which tells epochs apart where few samples make metrics equal."""
    return (-loss,)


def by_metric_then_loss(objective: Objective, epoch: int, metric: float, loss: float) -> Score:
    """The metric; of epochs that are as good, the one of the least loss."""
    return *by_metric(objective, epoch, metric, loss), -loss


def by_epoch(objective: Objective, epoch: int, metric: float, loss: float) -> Score:
    """The last epoch, whatever validation says: for a validation split too small to choose by."""
    return (float(epoch),)
