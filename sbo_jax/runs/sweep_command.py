"""The command that trains a sweep: `sbo-sweep`, or `python scripts/sweep_eta.py`."""

import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Annotated

import tyro

from ..devices.allocator import keep_freed_memory
from ..devices.compilation_cache import KeptPrograms
from ..devices.cores import use_all_cores
from ..devices.failures import in_one_sentence
from ..devices.processes import (
    ALONE,
    Processes,
    is_first,
    join,
    leaving_with_the_others,
    together,
)
from ..devices.stopping import StopRequest, stop_request
from ..training.fit_many import SweepEpoch
from .config.command_line import parse
from .folder.description import check_same_run
from .folder.run_folder import RunFolder
from .report.sweep import Trained, write_sweep
from .sweep import PreparedSweep, SweepConfig, described, prepare_rows, sweep, sweep_progress
from .watching.sweep import Watch


def sweep_once(
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


@in_one_sentence()
def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Parse and run."""
    return parse(sweep_once, arguments, description=SweepConfig.__doc__)


@in_one_sentence()
def main() -> int:
    """The console script."""
    keep_freed_memory()
    use_all_cores()
    return run_command_line()
