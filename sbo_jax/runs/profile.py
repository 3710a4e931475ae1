"""What device and host did during some training steps, as JAX's profiler records it."""

from pathlib import Path

import jax

from ..training.fit import Epoch, steps_per_epoch
from ..training.losses import STEPS_PER_LOOK
from .config.train import profiled_steps
from .preparation import Prepared


def check_profiled(prepared: Prepared) -> None:
    """ValueError for steps to record that a run does not have."""
    asked, recipe = prepared.config.run.profile, prepared.recipe
    steps = recipe.epochs * steps_per_epoch(prepared.task, recipe.batch_size)
    if asked is not None and profiled_steps(asked)[0] > steps:
        raise ValueError(
            f"expected steps of this run, which has {steps}, got --profile {asked}; try "
            f"--profile 1:{min(steps, STEPS_PER_LOOK)}"
        )


class Profile:
    """A reporter that records the steps of ``--profile FIRST:LAST`` into `folder`/profile.

    Training reports steps when it looks at their losses, up to 16 at once: the record begins up to
    15 steps before the first, and ends up to 15 after the last.

    Args:
      asked: the steps to record, as in "10:15".
      folder: its run folder, nothing in which means that the run begins.
    """

    def __init__(self, asked: str, folder: Path):
        self._asked, (self._first, self._last) = asked, profiled_steps(asked)
        self._folder, self._is_new = folder / "profile", not (folder / "config.json").exists()
        self._records, self._told = False, f"no profile: training ended before {asked}"
        self._step = 0

    def step(self, step: int, loss: float) -> None:
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
