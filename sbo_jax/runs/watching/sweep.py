"""What a terminal or a log shows of a sweep while it trains."""

import itertools
import sys

import numpy as np
from tqdm import tqdm

from ...devices.processes import is_first
from ...devices.stopping import StopRequest
from ...training.fit_many import SweepEpoch
from ..folder.sweep_progress import SweepProgress
from ..sweep import PreparedSweep


class Watch:
    """A bar over steps where somebody watches, else a line per epoch in a log."""

    # Of all rows: processes that stop together count them.
    steps = itertools.count(1)

    def __init__(self, row: PreparedSweep, progress: SweepProgress, stop: StopRequest):
        self._label, self._stop = row.label, stop
        self._watched = sys.stderr.isatty()
        done = len(progress.epochs) * row.num_steps // row.first.recipe.epochs
        self._bar = tqdm(
            total=row.num_steps,
            initial=done,
            unit=" steps",
            dynamic_ncols=True,
            disable=not (self._watched and is_first()),
        )

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def step(self, step: int, loss: float) -> None:
        self._bar.set_postfix_str(f"median loss {loss:.4g}", refresh=False)
        self._bar.update()
        self._stop.obey(next(self.steps))

    def epoch(self, epoch: SweepEpoch) -> None:
        line = f"epoch {epoch.epoch}, {sum(epoch.diverged_step > 0)} diverged"
        line = f"{self._label}: {line}" if self._label else line
        self._bar.set_description(line)
        if not self._watched and is_first():
            print(f"{line}, median loss {_finite_median(epoch.train_loss)}", file=sys.stderr)


def _finite_median(losses: np.ndarray) -> str:
    """Of the cells that still have a loss."""
    finite = losses[np.isfinite(losses)]
    return f"{np.median(finite):.4g}" if finite.size else "of none"
