"""Train an SBO-RNN: `python scripts/train.py --help`."""

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import tyro
from tqdm import tqdm

from sbo_jax import plots
from sbo_jax.devices.allocator import keep_freed_memory
from sbo_jax.devices.processes import (
    ALONE,
    Processes,
    is_first,
    join,
    leaving_with_the_others,
    together,
)
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.folder import RunFolder, check_same_run, describe
from sbo_jax.runs.run import Prepared, Reporter, prepare, train
from sbo_jax.runs.stopping import StopRequest, stop_request
from sbo_jax.runs.tensorboard import EventFile
from sbo_jax.training.fit import Epoch, steps_per_epoch
from sbo_jax.training.objectives import OBJECTIVES


class Bar:
    """A progress bar over steps, with the loss, the last validation metric and samples/s."""

    def __init__(self, prepared: Prepared, stop: StopRequest):
        self._stop = stop
        recipe = prepared.recipe
        steps = steps_per_epoch(prepared.task, recipe.batch_size)
        self._bar = tqdm(
            total=recipe.epochs * steps * recipe.batch_size,
            unit=" samples",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not is_first(),
        )
        self._batch_size = recipe.batch_size
        self._validation = "-"

    def step(self, step: int, loss: float) -> None:
        self._bar.set_postfix_str(f"loss {loss:.4g}, validation {self._validation}", refresh=False)
        if not self._bar.n:  # a run that goes on
            self._bar.initial = self._bar.n = (step - 1) * self._batch_size
        self._bar.update(self._batch_size)
        self._stop.obey(step)

    def epoch(self, report: Epoch) -> None:
        self._validation = f"{report.validation:.4g}"
        self._bar.set_description(f"epoch {report.epoch}")

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


def main(config: TrainConfig, processes: Processes = ALONE) -> int:
    """Run the configuration.

    Exit code 0, or 1 diverged or lost another process, 2 bad input or a full disk, 130 or 143
    stopped by a signal.
    """
    try:
        join(processes)
        prepared, folder = together(lambda: open_run(config))
    except ValueError as error:
        return refuse(error)
    except KeyboardInterrupt:
        return 130
    try:
        with folder, leaving_with_the_others(), stop_request() as stop, ExitStack() as stack:
            watching: list[Reporter] = [stack.enter_context(Bar(prepared, stop))]
            if config.tensorboard and is_first():
                watching.append(stack.enter_context(EventFile(folder.path / "tensorboard")))
            summary = train(prepared, folder, *watching)
    except OSError as error:  # a full disk, a damaged checkpoint
        return refuse(error)
    if is_first():
        draw_curves(folder.path, summary)
        tell(folder.path, summary)
    if "stopped" in summary:
        return 128 + stop.signal if stop.signal else 1
    return 0


def open_run(config: TrainConfig) -> tuple[Prepared, RunFolder]:
    """Everything that can be wrong with what the user asked for is, here."""
    prepared = prepare(config)
    default = Path("runs", f"{config.task}-{datetime.now():%Y%m%d-%H%M%S}")
    folder = RunFolder(config.out or default, resume=config.resume)
    check_same_run(folder.path, describe(prepared.config, prepared.recipe, prepared.task))
    return prepared, folder


def refuse(error: Exception) -> int:
    """Say it once, not once a process."""
    if is_first():
        print(f"train.py: {error}", file=sys.stderr)
    return 2


def tell(folder: Path, summary: dict[str, Any]) -> None:
    """What came out."""
    print(folder)
    print("{task}: {model}, {parameters} parameters, {seconds} s".format(**summary))
    if "stopped" in summary:
        print(f"stopped: {summary['stopped']}; {kept(summary)}")
        return
    result = "{metric}: test {test:.4g}, validation {best_validation:.4g} at epoch {best_epoch}"
    print(result.format(**summary))


def kept(summary: dict[str, Any]) -> str:
    """What model an unfinished run leaves behind."""
    if summary["best_epoch"] is None:
        return "no model was kept"
    if summary["best_validation"] is None:
        return "the model in the folder was never validated"
    return "kept: epoch {best_epoch}, validation {best_validation:.4g}".format(**summary)


def draw_curves(folder: Path, summary: dict[str, Any]) -> None:
    """Write curves.png, if there is an epoch to draw."""
    metrics = folder / "metrics.jsonl"
    if metrics.exists():
        lines = [json.loads(line) for line in metrics.read_text().splitlines()]
        figure = plots.learning_curves(lines, OBJECTIVES[summary["metric"]], summary["best_epoch"])
        figure.savefig(folder / "curves.png", dpi=120)


# --task, not --config.task
FLAT = (tyro.conf.OmitArgPrefixes,)


def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Parse and run."""
    return tyro.cli(main, args=arguments, description=TrainConfig.__doc__, config=FLAT)


if __name__ == "__main__":
    keep_freed_memory()
    sys.exit(run_command_line())
