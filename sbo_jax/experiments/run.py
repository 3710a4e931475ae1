"""`benchmark.py run`: the cells of an experiment, each in a process of its own.

OUT/results.jsonl   one line per finished cell, written as soon as it is
OUT/cells/KEY/      its run folder; KEY.log its output, KEY.json its line
OUT/report.*        what they amount to, see `report`
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from ..devices.allocator import keep_freed_memory
from ..devices.environment import environment
from ..devices.failures import in_one_sentence
from ..devices.stopping import Obedient, StopRequest
from ..disk.paths import local_path
from ..disk.text import JsonLines, json_text, replace_text
from ..runs.folder.arrays import first_line
from ..runs.folder.description import check_same_run, describe
from ..runs.folder.run_folder import RunFolder
from ..runs.preparation import prepare
from ..runs.run import train
from .file import Cell, Experiment, read_experiment
from .pick import selected_cells, trial_cells
from .pool import MachinePart, run_all
from .report import write_report

Line = dict[str, Any]


@dataclass(frozen=True)
class RunConfig:
    """Train every cell of an experiment file, skip those that are done, and write a table.

    A cell that crashes does not stop the others; run the command again to try it once more, and to
    go on after an interruption. Exit code 0, 1 where cells failed, 2 for bad input, or by signal.
    """

    file: tyro.conf.Positional[Path]
    """an experiment, as in scripts/experiments/"""
    report: bool = False
    """train nothing; write the table of what is done"""
    at_once: int = 1
    """cells that run at the same time, each with its share of the cores, and of the GPUs that
    CUDA_VISIBLE_DEVICES names"""
    raw_dir: Path | None = None
    """folder with original files; see train.py"""
    data_dir: Path | None = None
    """where prepared data sets are kept; None: TFDS's"""
    out: Path | None = None
    """where results go; None: runs/experiments/NAME"""


@in_one_sentence("benchmark.py")
def run(config: RunConfig) -> int:
    """Run the cells that are not done yet, then report."""
    if config.at_once < 1:
        raise ValueError(f"expected at-once >= 1, got {config.at_once}; try 1")
    experiment = read_experiment(local_path(config.file))
    out = local_path(config.out or Path("runs", "experiments", config.file.stem))
    (out / "cells").mkdir(parents=True, exist_ok=True)
    with JsonLines(None if config.report else out / "results.jsonl") as file:
        results = _Results(out / "results.jsonl", file)
        code = 0 if config.report else _run_experiment(experiment, results, out, config)
    _report(experiment, results, out, config)
    return code


def _report(experiment: Experiment, results: "_Results", out: Path, config: RunConfig) -> None:
    cells = selected_cells(experiment, results.summaries)
    done = [results.line(cell) for cell in cells if cell.key in results.lines]
    if not done:
        print("no cell is done yet")
    else:
        print(write_report(out, experiment.title, f"{config.file}", done, len(cells)))


class _Results:
    """The lines of `path` by key: `file` is written anew with every line that is added.

    Raises:
      ValueError: a file that holds something else.
    """

    def __init__(self, path: Path, file: JsonLines):
        self._file = file
        try:
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            lines = [json.loads(line) for line in text.splitlines()]
            self.lines: dict[str, Line] = {line["key"]: line for line in lines}
            for line in lines:
                line["summary"].items()
        except OSError:
            raise
        except Exception as error:  # whatever damaged JSON makes its readers raise
            raise ValueError(
                f"expected lines of results in {path}, each with its key and summary, got "
                f"{first_line(error)}; remove what is damaged"
            ) from error

    @property
    def summaries(self) -> dict[str, Any]:
        return {key: line["summary"] for key, line in self.lines.items()}

    def line(self, cell: Cell) -> Line:
        """The cell's line, with its name and published number as the file has them today."""
        return self.lines[cell.key] | {"name": cell.name, "published": cell.published}

    def add(self, line: Line) -> None:
        self.lines[line["key"]] = line
        self._file.write(self.lines.values())


def _run_experiment(experiment: Experiment, results: _Results, out: Path, config: RunConfig) -> int:
    """Exit code; what is tried to pick an option first, then the rest."""
    with StopRequest() as stop:
        batch = _Batch(results, out, config, stop)
        first = trial_cells(experiment)
        batch.run(first)
        # Known only now.
        batch.run(
            [cell for cell in selected_cells(experiment, results.summaries) if cell not in first]
        )
    if stop.signal:
        return 128 + stop.signal
    return 1 if batch.failed else 0


class _Batch:
    """Cells that run one after the other, or several at once; ``failed`` counts."""

    def __init__(self, results: _Results, out: Path, config: RunConfig, stop: StopRequest):
        self.failed = 0
        self._results, self._out, self._config, self._stop = results, out, config, stop

    def run(self, cells: Sequence[Cell]) -> None:
        self._heads = {
            cell.key: f"[{number}/{len(cells)}] {cell.name}, seed {cell.config.run.seed}"
            for number, cell in enumerate(cells, 1)
        }
        due = [cell for cell in cells if cell.key not in self._results.lines]
        for cell in cells:
            if cell.key in self._results.lines:
                self._tell(cell, "done before")
        jobs = [self._placed(cell) for cell in due]
        at_once = self._config.at_once
        run_all(jobs, _train_cell, at_once=at_once, stop=self._stop, on_end=self._end)

    def _placed(self, cell: Cell) -> Cell:
        places = {"raw_dir": self._config.raw_dir, "data_dir": self._config.data_dir}
        folder = self._out / "cells" / cell.key
        return cell._replace(config=cell.config.changed(resume=True, out=folder, **places))

    def _end(self, cell: Cell, code: int | None) -> None:
        if self._stop.signal:
            return self._tell(cell, "interrupted; the same command goes on")
        assert cell.config.run.out is not None
        out = cell.config.run.out
        result, log = _beside(out, ".json"), _beside(out, ".log")
        if code or not result.exists():
            self.failed += 1
            return self._tell(cell, f"failed with exit code {code}: {_last_line(log)} ({log})")
        line = json.loads(result.read_text(encoding="utf-8"))
        self._results.add(line)
        self._tell(cell, _told(line["summary"]))

    def _tell(self, cell: Cell, what: str) -> None:
        print(f"{self._heads[cell.key]}: {what}", flush=True)


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(folder.name + suffix)


def _train_cell(cell: Cell, part: MachinePart) -> None:
    """What the process of a cell does; its result is OUT/cells/KEY.json."""
    part.take()
    os.setsid()  # Ctrl-C is for the parent, which hands it on
    config, out = cell.config, cell.config.run.out
    assert out is not None
    with _beside(out, ".log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        keep_freed_memory()
        try:
            prepared = prepare(config)
            described = describe(prepared.config, prepared.recipe, prepared.task)
            with RunFolder(out, resume=True) as folder, StopRequest() as stop:
                check_same_run(folder.path, described)
                summary = train(prepared, folder, Obedient(stop))
            if summary.get("stopped") == "interrupted":
                sys.exit(128 + signal.SIGTERM)
            # A diverged run is a result, with what it says about that.
            line = {"name": cell.name, "key": cell.key, "seed": config.run.seed}
            line |= {"summary": summary, "environment": environment()}
            replace_text(_beside(out, ".json"), json_text(line) + "\n")
        except Exception as error:
            traceback.print_exc()
            print(error, file=sys.stderr)
            sys.stderr.flush()
            os._exit(1)


def _told(summary: Line) -> str:
    if "stopped" in summary:
        return f"stopped: {summary['stopped']}"
    return "{metric}: test {test:.4g}, {seconds} s".format(**summary)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "it printed nothing")
