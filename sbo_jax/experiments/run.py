"""`benchmark.py run`: the cells of an experiment, each in a process of its own.

OUT/results.jsonl   one line per finished cell, written as soon as it is
OUT/cells/          see `process`, and `join` for a folder that many workers share
OUT/report.*        what they amount to, see `report`
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..devices.failures import in_one_sentence
from ..devices.stopping import StopRequest
from ..disk.paths import local_path
from ..disk.text import JsonLines, staged
from .agreement import agree, is_shared
from .command import JOURNAL, Command
from .endings import Endings
from .file import Cell, Experiment, read_experiment
from .join import Worker, hand_over_unfinished
from .pick import reported_cells, selected_cells, trial_cells
from .pool import run_all
from .process import train_cell
from .report.files import write_report
from .results import RESULTS, Results

_LEASE = 300.0


@dataclass(frozen=True)
class RunConfig(Command):
    """Train every cell of an experiment file, skip those that are done, and write a table.

    A cell that crashes does not stop the others; run the command again to try it once more, and to
    go on after an interruption. Exit code 0, 1 where cells failed, 2 for bad input, or by signal.
    """

    join: bool = False
    """train the cells that nobody else does: any number of workers with the same --out, on
    machines that share its disk, may join at any time"""
    lease: float | None = None
    """seconds, >= 1, after which a worker of --join that is not heard of has lost its cells; None:
    300"""

    def check(self) -> None:
        """ValueError for numbers that cannot be, and options that have no effect together."""
        super().check()
        if self.join and self.report:
            raise ValueError("--join has no effect with --report; remove it")
        if self.lease is None:
            return
        if not self.join:
            raise ValueError("--lease has no effect without --join; give both or neither")
        if not 1 <= self.lease < float("inf"):
            raise ValueError(f"expected a finite lease >= 1 s, got {self.lease:g}; try 300")


@in_one_sentence("benchmark.py")
def run(config: RunConfig) -> int:
    """Run the cells that are not done yet, then report."""
    config.check()
    experiment = read_experiment(local_path(config.file))
    out = config.folder()
    if (out / JOURNAL).exists():
        raise ValueError(
            f"expected the folder of an experiment, got that of a search, whose runs are not "
            f"tested, {out}; choose another one with --out"
        )
    if config.join:
        return _join(experiment, out, config)
    if is_shared(out) and not config.report:
        raise ValueError(
            f"expected a folder that no workers share, got {out}; add --join, or choose another "
            f"one with --out"
        )
    with JsonLines(None if config.report else out / RESULTS) as file:
        results = Results(out, experiment.cells)
        code = 0 if config.report else _run_experiment(experiment, results, file, out, config)
        if results.lines:  # those of an earlier start that was killed among them
            file.write(results.lines.values())
    _report(experiment, results, out, config)
    return code


def _join(experiment: Experiment, out: Path, config: RunConfig) -> int:
    """Work with others, then report what there is, which others may be adding to."""
    results = Results(out, experiment.cells)
    if not is_shared(out):
        hand_over_unfinished(experiment, out / "cells")
    agree(experiment, out, f"{config.file}")
    with StopRequest() as stop:
        worker = Worker(experiment, results, out, config.lease or _LEASE, stop, config.placed)
        code = worker.run(config.at_once)
    known = -1
    while known < len(results.lines):  # so that the last one to report has seen all
        known = len(results.lines)
        with staged(out) as new:
            results.write(new / RESULTS)
        _report(experiment, results, out, config)
        results.read()
    return code


def _report(experiment: Experiment, results: Results, out: Path, config: RunConfig) -> None:
    cells, planned = reported_cells(experiment, results.summaries)
    done = [results.line(cell) for cell in cells if cell.key in results.lines]
    if not done:
        print("no cell is done yet")
    else:
        print(write_report(out, experiment.title, f"{config.file}", done, planned))


def _run_experiment(
    experiment: Experiment, results: Results, file: JsonLines, out: Path, config: RunConfig
) -> int:
    """Exit code; what is tried to pick an option first, then the rest."""
    with StopRequest() as stop:
        endings = Endings(results, file, stop)
        batch = _Batch(results, endings, out, config, stop)
        first = trial_cells(experiment)
        batch.run(first)
        # Known only now.
        batch.run(
            [cell for cell in selected_cells(experiment, results.summaries) if cell not in first]
        )
    if stop.signal:
        return 128 + stop.signal
    return 1 if endings.failed else 0


class _Batch:
    """Cells that run one after the other, or several at once."""

    def __init__(
        self, results: Results, endings: Endings, out: Path, config: RunConfig, stop: StopRequest
    ):
        self._results, self._endings, self._stop = results, endings, stop
        self._out, self._config = out, config

    def run(self, cells: Sequence[Cell]) -> None:
        heads = {
            cell.key: f"[{number}/{len(cells)}] {cell.name}, seed {cell.config.run.seed}"
            for number, cell in enumerate(cells, 1)
        }
        due = [cell for cell in cells if cell.key not in self._results.lines]
        for cell in cells:
            if cell.key in self._results.lines:
                print(f"{heads[cell.key]}: done before", flush=True)
        jobs = [self._config.placed(cell, self._out / "cells" / cell.key) for cell in due]

        def end(cell: Cell, code: int | None) -> None:
            self._endings.add(cell, code, heads[cell.key])

        at_once = max(1, min(self._config.at_once, len(jobs)))
        run_all(jobs, train_cell, at_once=at_once, stop=self._stop, on_end=end)
