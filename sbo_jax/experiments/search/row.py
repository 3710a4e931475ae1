"""What a trial has reached."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...training.objectives import OBJECTIVES
from ..results import Line
from .study import Trial


def losses(lines: Sequence[Line]) -> list[float] | None:
    """What the sampler minimises: validation, negated where more is better; None: one diverged."""
    summaries = [line["summary"] for line in lines]
    if any("stopped" in summary for summary in summaries):
        return None
    sign = -1.0 if OBJECTIVES[summaries[0]["metric"]].higher_is_better else 1.0
    return [sign * summary["best_validation"] for summary in summaries]


class Row(NamedTuple):
    """A trial that has ended, with the lines of its runs, one per seed."""

    trial: Trial
    lines: Sequence[Line]

    @property
    def summaries(self) -> list[Mapping[str, Any]]:
        return [line["summary"] for line in self.lines]

    @property
    def validation(self) -> list[float]:
        """The best validation metric of the runs that did not diverge."""
        return [s["best_validation"] for s in self.summaries if "stopped" not in s]

    @property
    def diverged(self) -> list[str]:
        """Why runs stopped."""
        return [s["stopped"] for s in self.summaries if "stopped" in s]

    @property
    def seconds(self) -> float:
        """Of training, all runs together."""
        return round(sum(summary["seconds"] for summary in self.summaries), 1)

    @property
    def order(self) -> tuple[bool, float, int]:
        """Of trials the best one has the least; those that diverged come last."""
        found = losses(self.lines)
        return found is None, statistics.mean(found or [0.0]), self.trial.number


def text(chosen: Mapping[str, Any]) -> str:
    """Options in a line that is printed: ``upper_rate 0.0123, solver sgd``."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in chosen.items()
    )
