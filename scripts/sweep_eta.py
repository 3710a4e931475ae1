"""Train a grid over eta, mu and seed at once: `python scripts/sweep_eta.py --help`."""

import itertools
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Annotated

import numpy as np
import tyro
from tqdm import tqdm

from sbo_jax.devices.allocator import keep_freed_memory
from sbo_jax.devices.compilation_cache import KeptPrograms
from sbo_jax.devices.cores import use_all_cores
from sbo_jax.devices.failures import in_one_sentence
from sbo_jax.devices.processes import (
    ALONE,
    Processes,
    is_first,
    join,
    leaving_with_the_others,
    together,
)
from sbo_jax.devices.stopping import StopRequest, stop_request
from sbo_jax.runs.config.command_line import parse
from sbo_jax.runs.folder.description import check_same_run
from sbo_jax.runs.folder.run_folder import RunFolder
from sbo_jax.runs.folder.sweep_progress import SweepProgress
from sbo_jax.runs.report.sweep import Trained, write_sweep
from sbo_jax.runs.sweep import (
    PreparedSweep,
    SweepConfig,
    described,
    prepare_rows,
    sweep,
    sweep_progress,
)
from sbo_jax.training.fit_many import SweepEpoch


def main(
    config: Annotated[SweepConfig, tyro.conf.arg(name="")], processes: Processes = ALONE
) -> int:
    """Run the sweep.

    Exit code 0 (diverged cells are a result), 1 another process is gone, 2 bad input, 130 or 143
    stopped by a signal.
    """
    join(processes)
    programs = together(lambda: KeptPrograms(config.compilation_cache))
    rows, folder = together(lambda: open_sweep(config))
    stop, trained, interrupted = stop_request(), [], False
    try:
        with folder, leaving_with_the_others(), stop:
            for row in rows:
                epochs, interrupted = train(row, folder, stop)
                trained.append((row, epochs))
                if interrupted:
                    break
            together(lambda: report(folder, trained) if is_first() else None)
            if interrupted and is_first():
                place = shlex.quote(folder.place)
                print(f"stopped: the same command with --out {place} --resume goes on")
            if programs.folder and is_first():
                print(programs)
    except KeyboardInterrupt:  # a second signal, which does not wait
        print(f"{folder.place}: stopped before all was saved; --resume goes on", file=sys.stderr)
        interrupted = True
    return 128 + (stop.signal or signal.SIGINT) if interrupted else 0


def open_sweep(config: SweepConfig) -> tuple[list[PreparedSweep], RunFolder]:
    """Prepare the sweep and its folder; ValueError for anything wrong with the request."""
    config.check()
    name = f"sweep-{config.data.task}"
    folder = RunFolder(config.out, resume=config.resume) if config.out else RunFolder.new(name)
    try:
        rows = prepare_rows(config)
        check_same_run(folder.path, described(config, rows))
        folder.write_json("config.json", described(config, rows))
    except BaseException:
        folder.close()
        raise
    return rows, folder


def report(folder: RunFolder, trained: Trained) -> None:
    """Write the report, and print what came of the cells."""
    cells = write_sweep(folder, trained)
    print(folder.place)
    if any(epochs for _, epochs in trained):
        print(f"{sum(cell['diverged'] for cell in cells)} of {len(cells)} cells diverged")


def train(
    row: PreparedSweep, folder: RunFolder, stop: StopRequest
) -> tuple[list[SweepEpoch], bool]:
    """The epochs of a row, from where its checkpoints stand, and whether a signal ended it."""
    interrupted = False
    with closing(together(lambda: folder.checkpoints_in(row.part))) as checkpoints:
        progress = sweep_progress(row, checkpoints)
        with Watch(row, progress, stop) as watch:
            try:
                stop.obey_between()
                for epoch in sweep(row, watch.step, stop.obey_between, progress.start):
                    progress.add(epoch)
                    watch.epoch(epoch)
            except KeyboardInterrupt:
                interrupted = True
        progress.close()
    return progress.epochs, interrupted


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
            print(f"{line}, median loss {finite_median(epoch.train_loss)}", file=sys.stderr)


def finite_median(losses: np.ndarray) -> str:
    """Of the cells that still have a loss."""
    finite = losses[np.isfinite(losses)]
    return f"{np.median(finite):.4g}" if finite.size else "of none"


@in_one_sentence()
def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Parse and run."""
    return parse(main, arguments, description=SweepConfig.__doc__)


@in_one_sentence()
def run_on_all_cores() -> int:
    """As the script does."""
    keep_freed_memory()
    use_all_cores()
    return run_command_line()


if __name__ == "__main__":
    sys.exit(run_on_all_cores())
