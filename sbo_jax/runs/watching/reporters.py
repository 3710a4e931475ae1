"""What a terminal, a log, TensorBoard or a profiler shows of a run while it trains."""

import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from ...devices.processes import is_first
from ...training.fit import Epoch, steps_per_epoch
from ...training.losses import STEPS_PER_LOOK
from ..config.train import profiled_steps
from ..learning import Reporter
from ..preparation import Prepared


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


class EventFile:
    """A run's metrics as a TensorBoard event file, one point an epoch; without TensorFlow.

    A resumed run takes back the points after the step where it goes on.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._writer: Any = None

    def step(self, step: int, loss: float) -> None:
        pass

    def epoch(self, report: Epoch) -> None:
        self._writer = self._writer or _writer(self._folder, report.step)
        for name, value in report.metrics().items():
            if value is not None and name != "step":
                self._writer.add_scalar(name, value, report.step)
        self._writer.flush()

    def __enter__(self) -> "EventFile":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer:
            self._writer.close()


class Profile:
    """A reporter that records the steps of ``--profile FIRST:LAST`` into `folder`/profile.

    Training reports steps when it looks at their losses, up to 16 at once: the record begins up to
    15 steps before the first, and ends up to 15 after the last.

    Args:
      asked: the steps to record, as in "10:15".
      folder: its run folder, no checkpoint in which means that the run begins.
    """

    def __init__(self, asked: str, folder: Path):
        self._asked, (self._first, self._last) = asked, profiled_steps(asked)
        self._folder = folder / "profile"
        self._is_new = not any((folder / "checkpoints").glob("[1-9]*"))
        self._records, self._told = False, f"no profile: training ended before {asked}"
        self._is_over = False  # a refit counts its steps from 1 again
        self._step = 0

    def step(self, step: int, loss: float) -> None:
        if self._is_over:
            return
        awaited = self._first - STEPS_PER_LOOK
        if self._records and step >= self._last:
            self._end(f"profile of steps {self._asked}")
        elif not self._step and not self._records and step > awaited:
            self._told = f"no profile: training went on at step {step}, too late for {self._asked}"
        elif not self._records and step == awaited:
            self._begin()
        self._step = step

    def epoch(self, report: Epoch) -> None:
        pass

    def __enter__(self) -> "Profile":
        if self._is_new and self._first <= STEPS_PER_LOOK:
            self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        if self._records:
            self._end(f"profile of steps {self._asked} up to {self._step}, where training ended")

    def __str__(self) -> str:
        return self._told

    def _begin(self) -> None:
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # thousands of events a step
        jax.profiler.start_trace(self._folder, create_perfetto_trace=True, profiler_options=options)
        self._records = True

    def _end(self, what: str) -> None:
        jax.profiler.stop_trace()
        self._records, self._told = False, f"{what}: {self._folder}"
        self._is_over = True


def progress(prepared: Prepared) -> AbstractContextManager[Reporter]:
    """A bar where somebody watches, else a line per epoch; on standard error."""
    return Bar(prepared) if sys.stderr.isatty() else EpochLines(prepared)


def check_profiled(prepared: Prepared) -> None:
    """ValueError for steps to record that a run does not have."""
    asked, recipe = prepared.config.run.profile, prepared.recipe
    steps = recipe.epochs * steps_per_epoch(prepared.task, recipe.batch_size)
    if asked is not None and profiled_steps(asked)[0] > steps:
        raise ValueError(
            f"expected steps of this run, which has {steps}, got --profile {asked}; try "
            f"--profile 1:{min(steps, STEPS_PER_LOOK)}"
        )


def _writer(folder: Path, first_step: int) -> Any:
    from tensorboardX import SummaryWriter  # an extra, and a second to import

    # Files are named by the second; the suffix keeps two starts within one apart.
    suffix = f".{first_step:012d}"
    return SummaryWriter(str(folder), purge_step=first_step, filename_suffix=suffix)
