"""The trials of a search, each of its runs in a process of its own.

OUT/journal.log     see `study`
OUT/results.jsonl   one line per finished run, written as soon as it is
OUT/cells/          the runs, see `process`
OUT/search.*        what they amount to, see `report`
OUT/best.toml       an experiment with the best options
"""

from collections.abc import Iterator
from pathlib import Path

from ..._words import counted
from ...devices.stopping import StopRequest
from ...disk.paths import local_path
from ...disk.text import JsonLines
from ..command import JOURNAL, Command
from ..endings import Endings
from ..file import Cell
from ..pool import run_all
from ..process import train_cell_without_test
from ..results import RESULTS, Results
from .file import Search, read_search
from .report import write_report
from .row import Row, losses, text
from .study import Study, Trial


def run_search(config: Command) -> int:
    """Exit code; the trials that are not done yet, then the report."""
    search = read_search(local_path(config.file))
    out = config.folder()
    if not (out / JOURNAL).exists() and any((out / "cells").iterdir()):
        raise ValueError(
            f"expected the folder of a search, got that of an experiment, {out}; choose another "
            f"one with --out"
        )
    if config.report and not (out / JOURNAL).exists():
        print("no trial is done yet")
        return 0
    with JsonLines(None if config.report else out / RESULTS) as file:
        results = Results(out)
        study = Study(search, out)
        code = 0
        if not config.report:
            with StopRequest() as stop:
                code = _Trials(search, study, results, file, out, config, stop).run()
        _report(search, study, results, out, f"{config.file}")
        if results.lines:  # those of an earlier start that was killed among them
            file.write(results.lines.values())
    return code


def _report(search: Search, study: Study, results: Results, out: Path, source: str) -> None:
    rows = []
    for trial in study.ended:
        cells = search.cells(_name(trial), trial.chosen)
        results.read(cells)
        rows.append(Row(trial, [results.lines[c.key] for c in cells if c.key in results.lines]))
    # Somebody may have removed what a trial left.
    rows = [row for row in rows if len(row.lines) == len(search.seeds)]
    print(write_report(out, search, source, rows) if rows else "no trial is done yet")


class _Trials:
    """Trains the trials that the budget leaves, those first that have begun."""

    def __init__(
        self,
        search: Search,
        study: Study,
        results: Results,
        file: JsonLines,
        out: Path,
        config: Command,
        stop: StopRequest,
    ):
        self._search, self._study, self._results, self._out = search, study, results, out
        self._config, self._stop = config, stop
        self._endings = Endings(results, file, stop)
        self._open: list[tuple[Trial, list[Cell]]] = []
        self._running: dict[str, str] = {}  # the line that a cell opens, by its key

    def run(self) -> int:
        """Exit code: 0, 1 where runs failed, or by signal."""
        self._study.drop_half_chosen()
        ended = len(self._study.ended)
        print(f"{ended} of {counted(self._search.trials, 'trial')} done before", flush=True)
        left = self._search.trials - ended
        at_once = max(1, min(self._config.at_once, left * len(self._search.seeds)))
        run_all(
            self._jobs(left),
            train_cell_without_test,
            at_once=at_once,
            stop=self._stop,
            on_end=self._end,
        )
        if self._stop.signal:
            return 128 + self._stop.signal
        return 1 if self._endings.failed else 0

    def _jobs(self, left: int) -> Iterator[Cell]:
        """The runs of so many trials; one is chosen when there is a place for its first run."""
        begun = self._study.begun[: max(0, left)]
        for trial in begun:
            yield from self._due(trial)
        for _ in range(left - len(begun)):
            yield from self._due(self._study.ask())

    def _due(self, trial: Trial) -> Iterator[Cell]:
        """The runs of a trial that nothing has trained, and nothing trains: trials can be equal."""
        cells = self._search.cells(_name(trial), trial.chosen)
        self._open.append((trial, cells))
        self._results.read(cells)
        for cell in cells:
            head = self._head(trial, cell)
            if cell.key in self._results.lines:
                print(f"{head}: done before", flush=True)
            elif cell.key not in self._running:
                self._running[cell.key] = head
                yield self._config.placed(cell, self._out / "cells" / cell.key)
        self._tell()

    def _head(self, trial: Trial, cell: Cell) -> str:
        return f"{_name(trial)}: {text(trial.chosen)}, seed {cell.config.run.seed}"

    def _end(self, cell: Cell, code: int | None) -> None:
        self._endings.add(cell, code, self._running.pop(cell.key))
        self._tell()

    def _tell(self) -> None:
        """Tell the sampler of the trials whose runs are all done."""
        for trial, cells in list(self._open):
            lines = [self._results.lines.get(cell.key) for cell in cells]
            known = [line for line in lines if line is not None]
            if len(known) == len(cells):
                self._study.tell(trial, losses(known))
                self._open.remove((trial, cells))


def _name(trial: Trial) -> str:
    return f"trial {trial.number}"
