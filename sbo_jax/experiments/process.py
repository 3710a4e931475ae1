"""What the process of a cell does: train in its run folder, and leave a line there.

OUT/cells/KEY/              the run folder
OUT/cells/KEY/result.json   the line, written last
OUT/cells/KEY.log           what the process printed
"""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from ..devices.allocator import keep_freed_memory
from ..devices.compilation_cache import KeptPrograms
from ..devices.cores import use_all_cores
from ..devices.environment import environment
from ..devices.stopping import Obedient, StopRequest
from ..disk.text import json_text, replace_text
from ..runs.folder.description import FORMAT, check_same_run, describe
from ..runs.folder.machine import on_the_same_devices
from ..runs.folder.run_folder import RunFolder
from ..runs.preparation import prepare
from ..runs.run import INTERRUPTED, train, train_without_test
from .file import Cell
from .pool import MachinePart
from .results import RESULT
from .samples import check_same_samples, samples_of

Summary: TypeAlias = dict[str, Any]


def train_cell(cell: Cell, part: MachinePart) -> None:
    """Train in the folder that the configuration names; exit code 1 for whatever is raised."""
    _in_this_process(cell, part, partial(train, keep_answers=True))


def train_cell_without_test(cell: Cell, part: MachinePart) -> None:
    """As `train_cell`, and nothing reads the test split."""
    _in_this_process(cell, part, train_without_test)


def _in_this_process(cell: Cell, part: MachinePart, how: Callable[..., Summary]) -> None:
    part.take()
    os.setsid()  # Ctrl-C is for the parent, which hands it on
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    with log_of(cell).open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        keep_freed_memory()
        try:
            use_all_cores()
            summary = train_in_folder(cell, how)
            if summary.get("stopped") == INTERRUPTED:
                sys.exit(128 + signal.SIGTERM)
            # A diverged run is a result, with what it says about that.
            write_result(cell, summary, environment())
        except Exception as error:
            traceback.print_exc()
            print(error, file=sys.stderr)
            sys.stderr.flush()
            os._exit(1)


def train_in_folder(cell: Cell, how: Callable[..., Summary]) -> Summary:
    """Train by `how`, as `runs.run.train` does, in the cell's folder; a signal ends it safely."""
    programs = KeptPrograms(cell.config.run.compilation_cache)
    prepared = prepare(on_the_same_devices(cell.config, folder_of(cell)))
    described = describe(prepared.config, prepared.recipe, prepared.task)
    with RunFolder(folder_of(cell), resume=True) as folder, StopRequest() as stop:
        check_same_run(folder.path, described)
        samples = samples_of(described)
        check_same_samples(folder.path.parent.parent, samples)
        summary = how(prepared, folder, Obedient(stop), between_batches=stop.obey_between)
    if programs.folder:
        print(programs)
    return summary if samples is None else summary | {"samples": samples}


def write_result(cell: Cell, summary: Summary, where: dict[str, Any]) -> None:
    """The line of a cell that is done, where it was made included."""
    line = {"name": cell.name, "key": cell.key, "seed": cell.config.run.seed, "format": FORMAT}
    line |= {"summary": summary, "environment": where}
    replace_text(folder_of(cell) / RESULT, json_text(line) + "\n")


def is_done(cell: Cell, code: int | None) -> bool:
    """Whether the process that ended with this code has left a line."""
    return code == 0 and (folder_of(cell) / RESULT).is_file()


def failure(cell: Cell, code: int | None) -> str:
    """Why the process that ended with this code left no line, as far as its log tells."""
    return f"failed with exit code {code}: {_last_line(log_of(cell))} ({log_of(cell)})"


def told(summary: Summary) -> str:
    """A result in a few words."""
    if "stopped" in summary:
        return f"stopped: {summary['stopped']}"
    if "test" not in summary:
        result = "{metric}: validation {best_validation:.4g}, {seconds} s"
    elif summary.get("chosen"):
        result = "{metric}: test {chosen[test]:.4g}; test {test:.4g} after the refit, {seconds} s"
    else:
        result = "{metric}: test {test:.4g}, {seconds} s"
    return result.format(**summary)


def folder_of(cell: Cell) -> Path:
    """Where the cell trains."""
    assert cell.config.run.out is not None
    return cell.config.run.out


def log_of(cell: Cell) -> Path:
    """What the cell's process prints, whoever holds the cell."""
    return folder_of(cell).with_name(f"{cell.key}.log")


def _end_with_the_parent() -> None:
    """Nobody renews the lease, or waits for the result, where the parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "it printed nothing")
