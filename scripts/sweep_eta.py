"""Train a grid over eta, mu and seed at once: `python scripts/sweep_eta.py --help`."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import jax
import numpy as np
import tyro
from tqdm import tqdm

from sbo_jax import plots
from sbo_jax.devices.allocator import keep_freed_memory
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
from sbo_jax.runs.sweep import PreparedSweep as Prepared
from sbo_jax.runs.sweep import (
    SweepConfig,
    cell_reports,
    prepare_sweep,
    sweep,
    sweep_progress,
)
from sbo_jax.training.fit import steps_per_epoch
from sbo_jax.training.fit_many import SweepEpoch


def main(
    config: Annotated[SweepConfig, tyro.conf.arg(name="")], processes: Processes = ALONE
) -> int:
    """Run the sweep.

    Exit code 0 (diverged cells are a result), 1 another process is gone, 2 bad input, 130 or 143
    stopped by a signal.
    """
    join(processes)
    prepared, folder = together(lambda: open_sweep(config))
    stop = stop_request()
    try:
        with folder, leaving_with_the_others(), stop:
            progress = sweep_progress(prepared, folder.checkpoints)
            run(prepared, progress, stop)
            progress.close()
            together(lambda: report(folder, prepared, progress.epochs) if is_first() else None)
    except KeyboardInterrupt:  # a second signal, which does not wait
        print(f"{folder.place}: stopped before all was saved; --resume goes on", file=sys.stderr)
        return 128 + (stop.signal or signal.SIGINT)
    return 128 + stop.signal if stop.signal else 0


def open_sweep(config: SweepConfig) -> tuple[Prepared, RunFolder]:
    """Prepare the sweep and its folder; ValueError for anything wrong with the request."""
    config.check()
    name = f"sweep-{config.data.task}"
    folder = RunFolder(config.out, resume=config.resume) if config.out else RunFolder.new(name)
    try:
        prepared = prepare_sweep(config)
        check_same_run(folder.path, prepared.described())
        folder.write_json("config.json", prepared.described())
    except BaseException:
        folder.close()
        raise
    return prepared, folder


def report(folder: RunFolder, prepared: Prepared, epochs: list[SweepEpoch]) -> None:
    """Write what is known of the cells, and draw it."""
    cells = cell_reports(prepared, epochs)
    for cell in cells:
        folder.append_line("cells.jsonl", cell)
    print(folder.place)
    if epochs:
        metric = prepared.first.objective
        plots.eta_heat_map(cells, metric).savefig(folder.path / "heat_map.png", dpi=120)
        plots.sweep_curves(cells, metric).savefig(folder.path / "curves.png", dpi=120)
        print(f"{sum(cell['diverged'] for cell in cells)} of {len(cells)} cells diverged")


def run(prepared: Prepared, progress: SweepProgress, stop: StopRequest) -> None:
    """Train behind a bar, or a line per epoch in a log; a signal keeps the epochs before it."""
    recipe = prepared.first.recipe
    epoch_steps = steps_per_epoch(prepared.first.task, recipe.batch_size)
    watched = sys.stderr.isatty()
    with tqdm(
        total=recipe.epochs * epoch_steps,
        initial=len(progress.epochs) * epoch_steps,
        unit=" steps",
        dynamic_ncols=True,
        disable=not (watched and is_first()),
    ) as bar:

        def on_step(step: int, loss: float) -> None:
            bar.set_postfix_str(f"median loss {loss:.4g}", refresh=False)
            bar.update()
            stop.obey(step)

        try:
            for epoch in sweep(prepared, on_step, stop.obey_between, progress.start):
                progress.add(epoch)
                line = f"epoch {epoch.epoch}, {sum(epoch.diverged_step > 0)} diverged"
                bar.set_description(line)
                if not watched and is_first():
                    print(f"{line}, median loss {finite_median(epoch.train_loss)}", file=sys.stderr)
        except KeyboardInterrupt:
            stop.signal = stop.signal or signal.SIGINT


def finite_median(losses: np.ndarray) -> str:
    """Of the cells that still have a loss."""
    finite = losses[np.isfinite(losses)]
    return f"{np.median(finite):.4g}" if finite.size else "of none"


@in_one_sentence()
def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Parse and run."""
    return parse(main, arguments, description=SweepConfig.__doc__)


if __name__ == "__main__":
    keep_freed_memory()
    # A small recurrence keeps one core busy; cells are independent, so every core takes a share.
    jax.config.update("jax_num_cpu_devices", os.cpu_count())
    sys.exit(run_command_line())
