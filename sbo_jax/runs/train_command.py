"""The command that trains one run: `sbo-train`, or `python scripts/train.py`."""

import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Annotated, Any

import tyro

from .._words import counted
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
from ..devices.stopping import Obedient, StopRequest, stop_request
from ..tasks.account import account
from ..training.predictions import Predicted
from .config import TrainConfig, check
from .config.command_line import parse
from .folder.description import check_same_run, describe
from .folder.machine import on_the_same_devices
from .folder.run_folder import RunFolder
from .learning import Reporter
from .preparation import Prepared, prepare
from .report import write_report
from .report.pictures import draw_curves
from .run import INTERRUPTED, train
from .scores import NAMES as SCORE_NAMES
from .watching.gradient_flow import check_flows
from .watching.reporters import EventFile, Profile, check_profiled, progress


def train_once(
    config: Annotated[TrainConfig, tyro.conf.arg(name="")], processes: Processes = ALONE
) -> int:
    """Train one run and write its folder.

    Exit code 0, or 1 diverged or lost another process, 2 for whatever is raised, 130 or 143 stopped
    by a signal.
    """
    join(processes)
    programs = together(lambda: KeptPrograms(config.run.compilation_cache))
    if config.run.check_only:
        prepared = together(lambda: prepare(config))
        if is_first():
            print(account(prepared.task))
        return 0
    prepared, folder = together(lambda: open_run(config))
    if config.data.folder and is_first():
        print(account(prepared.task), flush=True)
    stop = stop_request()
    try:
        with folder, leaving_with_the_others(), stop, ExitStack() as stack:
            watching = [
                stack.enter_context(one) for one in _reporters(config, prepared, folder.path)
            ]
            summary = _train(config, prepared, folder, stop, watching)
    except KeyboardInterrupt:  # a second signal, which does not wait
        print(f"{folder.place}: stopped before all was saved; --resume goes on", file=sys.stderr)
        return 128 + (stop.signal or signal.SIGINT)
    if is_first():
        print_summary(folder.place, summary)
        profiles = [one for one in watching if isinstance(one, Profile)]
        for told in (*profiles, *([programs] if programs.folder else [])):
            print(told)
    if "stopped" in summary:
        return 128 + stop.signal if stop.signal else 1
    return 0


def _reporters(
    config: TrainConfig, prepared: Prepared, folder: Path
) -> list[AbstractContextManager[Reporter]]:
    """Who watches the run, as the configuration asks for."""
    watching = [progress(prepared)]
    if config.run.tensorboard and is_first():
        watching.append(EventFile(folder / "tensorboard"))
    if config.run.profile and is_first():
        watching.append(Profile(config.run.profile, folder))
    return watching


def _train(
    config: TrainConfig,
    prepared: Prepared,
    folder: RunFolder,
    stop: StopRequest,
    watching: Sequence[Reporter],
) -> dict[str, Any]:
    """Train, and draw and report what came of it."""
    predicted: list[Predicted] = []
    summary = train(
        prepared,
        folder,
        *watching,
        Obedient(stop),
        between_batches=stop.obey_between,
        on_predictions=predicted.append,
    )
    if not is_first():
        return summary
    if "stopped" in summary:
        draw_curves(folder.path, summary)
    else:
        last = predicted[-1] if predicted else None
        write_report(folder.path, folder.place, config, prepared, summary, last)
    return summary


def open_run(config: TrainConfig) -> tuple[Prepared, RunFolder]:
    """Prepare the run and its folder; ValueError for anything wrong with the request."""
    check(config)
    out = config.run.out
    folder = RunFolder(out, resume=config.run.resume) if out else RunFolder.new(config.data.task)
    try:
        prepared = prepare(on_the_same_devices(config, folder.path))
        check_profiled(prepared)
        check_flows(prepared)
        check_same_run(folder.path, describe(prepared.config, prepared.recipe, prepared.task))
    except BaseException:
        folder.close()
        raise
    return prepared, folder


def print_summary(folder: str, summary: dict[str, Any]) -> None:
    """Print the folder and the result."""
    print(folder)
    size = counted(summary["parameters"], "parameter")
    print(f"{summary['task']}: {summary['model']}, {size}, {summary['seconds']} s")
    if "stopped" in summary:
        print(f"stopped: {summary['stopped']}; {best_model(summary)}{_way_on(folder, summary)}")
        return
    result = "{metric}: test {test:.4g}, validation {best_validation:.4g} at epoch {best_epoch}"
    if summary.get("chosen"):
        result = (
            "{metric}: test {chosen[test]:.4g}, validation {best_validation:.4g} at epoch "
            "{best_epoch}; test {test:.4g} after the refit"
        )
    print(result.format(**summary))
    if known := {name: value for name, value in summary["scores"].items() if value is not None}:
        print(", ".join(f"{SCORE_NAMES[name]} {value:.4g}" for name, value in known.items()))


def _way_on(folder: str, summary: dict[str, Any]) -> str:
    """How to go on with a run that did not end by itself; a diverged one would diverge again."""
    if summary["stopped"] != INTERRUPTED:
        return ""
    return f"; the same command with --out {shlex.quote(folder)} --resume goes on"


def best_model(summary: dict[str, Any]) -> str:
    """Describes the model that an unfinished run leaves behind."""
    if summary["best_epoch"] is None:
        return "no model was kept"
    if summary["best_validation"] is None:
        return "the model in the folder was never validated"
    return "kept: epoch {best_epoch}, validation {best_validation:.4g}".format(**summary)


@in_one_sentence()
def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Parse and run."""
    return parse(train_once, arguments, description=TrainConfig.__doc__)


@in_one_sentence()
def main() -> int:
    """The console script."""
    keep_freed_memory()
    use_all_cores()
    return run_command_line()
