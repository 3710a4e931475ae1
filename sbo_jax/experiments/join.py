"""`benchmark.py run --join`: one of many workers, on any number of machines, that share a folder.

OUT/experiment.json      see `agreement`
OUT/cells/KEY.N/         the run folder of a cell that a worker holds, see `disk.leases`
OUT/cells/KEY/           that of a finished one
OUT/cells/KEY.failed.N   what the worker that was the Nth to hold the cell said when it failed
OUT/cells/KEY.lost.N     the Nth one to hold it, which fell silent
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from ..devices.stopping import StopRequest
from ..disk.leases import Renewal, hand_over, held_folders, is_held, take, time_on
from ..disk.text import replace_text
from .file import Cell, Experiment
from .pick import selected_cells, trial_cells
from .pool import run_all
from .process import failure, is_done, told, train_cell
from .results import RESULT, Results

# One machine's fault should not cost a cell, nor one cell's fault the work of every machine.
_MOST_FAILURES = 2
# Of workers that fell silent: a cell can be what takes its machine down.
_MOST_LOSSES = 20
# How often, in a lease, a worker without work looks for some; and seconds between two such looks.
_LOOKS, _LONGEST_PAUSE = 10, 5.0


def hand_over_unfinished(experiment: Experiment, cells: Path) -> None:
    """Let workers go on with what `benchmark.py run` alone has begun."""
    for cell in experiment.cells:
        folder = cells / cell.key
        if folder.exists() and not (folder / RESULT).exists():
            hand_over(folder)


class Worker:
    """Trains the cells that nobody else does, until there are none left.

    Args:
      out: the shared folder.
      seconds: the lease on a cell.
      place: the cell, to be trained in this folder.
    """

    def __init__(
        self,
        experiment: Experiment,
        results: Results,
        out: Path,
        seconds: float,
        stop: StopRequest,
        place: Callable[[Cell, Path], Cell],
    ):
        self._experiment, self._results, self._cells = experiment, results, out / "cells"
        self._seconds, self._stop, self._place = seconds, stop, place
        self._leases = Renewal(seconds)
        self._failed_here: set[str] = set()
        self._pause_until = -1.0
        self._waits_for = 0

    def run(self, at_once: int) -> int:
        """Exit code: 0, 1 if cells failed, or by signal."""
        for cell in self._wanted():
            if cell.key in self._results.lines:
                self._tell(cell, "done before")
        with self._leases:
            run_all(self._jobs(), train_cell, at_once=at_once, stop=self._stop, on_end=self._end)
        if self._stop.signal:
            return 128 + self._stop.signal
        again = {cell.key for cell in self._left()}
        missing = [cell for cell in self._wanted() if cell.key not in self._results.lines]
        for cell in missing:
            path = f"{self._cells / cell.key}"
            for_ever = f"given up; remove {path}.failed.* and {path}.lost.* to have it tried again"
            once_more = "failed; the same command tries it once more"
            self._tell(cell, once_more if cell.key in again else for_ever)
        return 1 if missing else 0

    def _wanted(self) -> list[Cell]:
        """The cells that are tried to pick an option, and those that were picked so far."""
        first = trial_cells(self._experiment)
        picked = selected_cells(self._experiment, self._results.summaries)
        return [*first, *(cell for cell in picked if cell not in first)]

    def _jobs(self) -> Iterator[Cell | None]:
        """A cell to train at once, or None while others train what is left."""
        while True:
            if time.monotonic() < self._pause_until:
                yield None
                continue
            self._results.read()
            job = self._take_one()
            if job is None and not self._awaits():
                return
            if job is None:
                self._pause_until = time.monotonic() + min(self._seconds / _LOOKS, _LONGEST_PAUSE)
            yield job

    def _left(self) -> list[Cell]:
        """The cells without a result, those excepted that failed too often."""
        kinds = Counter(path.name.rpartition(".")[0] for path in self._cells.iterdir())

        def is_open(cell: Cell) -> bool:
            failed, lost = (kinds[f"{cell.key}.{kind}"] for kind in ("failed", "lost"))
            return failed < _MOST_FAILURES and lost < _MOST_LOSSES

        wanted = self._wanted()
        return [c for c in wanted if c.key not in self._results.lines and is_open(c)]

    def _take_one(self) -> Cell | None:
        now, held = time_on(self._cells), held_folders(self._cells)
        for cell in self._left():
            number = held.get(cell.key, 0)
            if cell.key in self._failed_here and not is_held(self._cells / cell.key, number):
                continue  # for others, unless one of them falls silent over it as well
            lease = take(self._cells / cell.key, number, now, self._seconds)
            if lease is None:
                continue
            if lease.taken_from:
                replace_text(self._cells / f"{cell.key}.lost.{number}", f"{lease.taken_from}\n")
                self._tell(cell, f"taken over from {lease.taken_from}, which fell silent")
            placed = self._place(cell, lease.path)
            self._leases.add(cell.key, lease)
            if not is_done(placed, 0):
                return placed
            self._end(placed, 0)  # all but published when its worker was killed
        return None

    def _awaits(self) -> bool:
        """Whether this worker trains something, or another may leave something to do."""
        held = held_folders(self._cells)
        awaited = [
            cell.key
            for cell in self._left()
            if cell.key not in self._failed_here
            or is_held(self._cells / cell.key, held.get(cell.key, 0))
        ]
        others = sum(key not in self._leases for key in awaited)
        if others not in (0, self._waits_for):
            print(f"waiting for what other workers train: {others}", flush=True)
        self._waits_for = others
        return bool(awaited)

    def _end(self, cell: Cell, code: int | None) -> None:
        """Publish a result; else give the cell back."""
        lease = self._leases.pop(cell.key)
        if is_done(cell, code):
            if not lease.publish():
                return self._tell(cell, "done, and by another worker, which had to take it over")
            self._results.read()
            return self._tell(cell, told(self._results.lines[cell.key]["summary"]))
        if self._stop.signal:
            lease.give_back()
            return self._tell(cell, "interrupted; another worker goes on")
        if not lease.renew():
            return self._tell(cell, "lost to another worker, which heard nothing of this one")
        said = failure(cell, code)
        replace_text(self._cells / f"{cell.key}.failed.{lease.number}", said + "\n")
        self._failed_here.add(cell.key)
        lease.give_back()
        self._tell(cell, said)

    def _tell(self, cell: Cell, what: str) -> None:
        print(f"{cell.name}, seed {cell.config.run.seed}: {what}", flush=True)
