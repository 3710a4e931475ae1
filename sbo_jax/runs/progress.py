"""What a terminal, or a log, shows of a run while it trains."""

import sys
import time
from contextlib import AbstractContextManager

from tqdm import tqdm

from ..devices.processes import is_first
from ..training.fit import Epoch, steps_per_epoch
from .run import Prepared, Reporter


class Bar:
    """A progress bar over steps, with the loss, the last validation metric and samples/s."""

    def __init__(self, prepared: Prepared):
        recipe = prepared.recipe
        steps = steps_per_epoch(prepared.task, recipe.batch_size)
        self._bar = tqdm(
            total=recipe.epochs * steps * recipe.batch_size,
            unit=" samples",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not is_first(),
        )
        self._batch_size = recipe.batch_size
        self._validation = "-"

    def step(self, step: int, loss: float) -> None:
        self._bar.set_postfix_str(f"loss {loss:.4g}, validation {self._validation}", refresh=False)
        if not self._bar.n:  # a resumed run
            self._bar.initial = self._bar.n = (step - 1) * self._batch_size
        self._bar.update(self._batch_size)

    def epoch(self, report: Epoch) -> None:
        self._validation = f"{report.validation:.4g}"
        self._bar.set_description(f"epoch {report.epoch}")

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


class EpochLines:
    """A line per epoch, for a log: a bar's carriage returns would make one endless line of it."""

    def __init__(self, prepared: Prepared):
        self._epochs, self._metric = prepared.recipe.epochs, prepared.objective.metric_name
        self._began = time.monotonic()

    def step(self, step: int, loss: float) -> None:
        pass

    def epoch(self, report: Epoch) -> None:
        if is_first():
            print(
                f"epoch {report.epoch}/{self._epochs}: loss {report.train_loss:.4g}, validation "
                f"{self._metric} {report.validation:.4g}, {time.monotonic() - self._began:.1f} s",
                file=sys.stderr,
                flush=True,
            )

    def __enter__(self) -> "EpochLines":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def progress(prepared: Prepared) -> AbstractContextManager[Reporter]:
    """A bar where somebody watches, else a line per epoch; on standard error."""
    return Bar(prepared) if sys.stderr.isatty() else EpochLines(prepared)
