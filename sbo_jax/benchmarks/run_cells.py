"""`benchmark.py run`: the cells of an experiment one after the other, each in a process of its own.

OUT/results.jsonl   one line per finished cell, written as soon as it is
OUT/cells/KEY/      its run folder; KEY.log what it said
OUT/report.md       the table, and report.png its figure
"""

import json
import multiprocessing
import os
import sys
import traceback
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import tyro

from ..training import Epoch, RunFolder, TrainConfig, keep_freed_memory, prepare, train
from ..training.run_folder import check_same_run, describe
from ..training.stopping import StopRequest
from .environment import environment
from .experiments import Cell, Experiment, read_experiment
from .report import write_lines
from .results_table import write_report

Line = dict[str, Any]

# How often the parent looks whether it is asked to stop.
_LOOK_SECONDS = 0.2


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
    raw_dir: Path | None = None
    """folder with original files; see train.py"""
    data_dir: Path | None = None
    """where prepared data sets are kept (default: TFDS's)"""
    out: Path | None = None
    """where results go (default: runs/experiments/NAME)"""


def run(config: RunConfig) -> int:
    """Run the cells that are not done yet, then report."""
    out = config.out or Path("runs", "experiments", config.file.stem)
    try:
        experiment = read_experiment(config.file)
        lines = _read_results(out)
        (out / "cells").mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        print(f"benchmark.py: {error}", file=sys.stderr)
        return 2
    code = 0 if config.report else _run_cells(experiment, lines, out, config)
    done = [line for cell in experiment.cells for line in lines if line["key"] == cell.key]
    if done:
        print(write_report(out, experiment.title, f"{config.file}", done, len(experiment.cells)))
    else:
        print("no cell is done yet")
    return code


def _run_cells(experiment: Experiment, lines: list[Line], out: Path, config: RunConfig) -> int:
    """Exit code; a line is added for every cell that was finished."""
    failed = 0
    done = {line["key"] for line in lines}
    total = len(experiment.cells)
    with StopRequest() as stop:
        for number, cell in enumerate(experiment.cells, 1):
            head = f"[{number}/{total}] {cell.name}, seed {cell.config.seed}"
            if cell.key in done:
                print(f"{head}: done before", flush=True)
                continue
            folder = out / "cells" / cell.key
            code = _in_own_process(_placed(cell.config, folder, config), stop)
            if stop.signal:
                print(f"{head}: interrupted; the same command goes on", flush=True)
                return 128 + stop.signal
            summary = folder / "summary.json"
            if code or not summary.exists():
                failed += 1
                log = folder.with_suffix(".log")
                print(
                    f"{head}: failed with exit code {code}: {_last_line(log)} ({log})", flush=True
                )
                continue
            lines.append(_line(cell, json.loads(summary.read_text())))
            write_lines(out / "results.jsonl", lines)
            print(f"{head}: {_told(lines[-1]['summary'])}", flush=True)
    return 1 if failed else 0


def _placed(cell: TrainConfig, folder: Path, config: RunConfig) -> TrainConfig:
    places = {"raw_dir": config.raw_dir, "data_dir": config.data_dir, "out": folder}
    return replace(cell, resume=True, **places)  # type: ignore[arg-type]


def _in_own_process(config: TrainConfig, stop: StopRequest) -> int | None:
    """Exit code of `_train_cell`; on a signal the cell saves where it is, and ends."""
    process: BaseProcess = multiprocessing.get_context("spawn").Process(
        target=_train_cell, args=(config,)
    )
    process.start()
    while process.is_alive():
        process.join(_LOOK_SECONDS)
        if stop.signal and process.is_alive():
            process.terminate()
            process.join()
    return process.exitcode


def _train_cell(config: TrainConfig) -> None:
    """What the process of a cell does."""
    os.setsid()  # Ctrl-C is for the parent, which hands it on
    assert config.out is not None
    with config.out.with_suffix(".log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        keep_freed_memory()
        try:
            prepared = prepare(config)
            folder = RunFolder(config.out, resume=True)
            check_same_run(folder.path, describe(prepared.config, prepared.recipe, prepared.task))
            with folder, StopRequest() as stop:
                train(prepared, folder, _Obeying(stop))
        except Exception as error:
            traceback.print_exc()
            print(error, file=sys.stderr)
            sys.stderr.flush()
            os._exit(1)


class _Obeying:
    """Reports nothing and stops when asked to."""

    def __init__(self, stop: StopRequest):
        self._stop = stop

    def step(self, step: int, loss: float) -> None:
        self._stop.obey(step)

    def epoch(self, report: Epoch) -> None:
        pass


def _line(cell: Cell, summary: Line) -> Line:
    """A diverged run is a result, with what it says about that."""
    config = {"name": cell.name, "key": cell.key, "seed": cell.config.seed}
    return config | {"summary": summary, "environment": environment()}


def _read_results(out: Path) -> list[Line]:
    path = out / "results.jsonl"
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise ValueError(
            f"expected lines of JSON in {path}, got {error}; remove what is damaged"
        ) from error


def _told(summary: Line) -> str:
    if "stopped" in summary:
        return f"stopped: {summary['stopped']}"
    return "{metric}: test {test:.4g}, {seconds} s".format(**summary)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")
