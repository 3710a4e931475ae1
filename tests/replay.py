"""Replay the first epochs of an experiment and compare them with the curves in its report.

By hand, for it takes minutes: `python tests/replay.py --help`. The same code gives the same bits on
as many cores of the same kind; elsewhere rounding differs, and grows from step to step.
"""

import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tyro

from sbo_jax.experiments.file import Cell, read_experiment
from sbo_jax.experiments.pool import MachinePart
from sbo_jax.experiments.process import folder_of, train_cell


def main(
    file: tyro.conf.Positional[Path],
    report: tyro.conf.Positional[Path],
    epochs: int = 1,
    at_once: int = 2,
    raw_dir: Path | None = None,
) -> None:
    """Print a JSON line for the first seed of every row of the report.

    Args:
        file: scripts/experiments/NAME.toml.
        report: its report.json, as in docs/results.
        epochs: how many to replay.
        at_once: as the experiment was run: each cell has this part of the cores.
        raw_dir: as for train.py.
    """
    with tempfile.TemporaryDirectory() as out:
        for cell, kept in first_seeds(file, report):
            config = cell.config.changed(resume=True, out=Path(out, cell.key), raw_dir=raw_dir)
            replayed = first_epochs(cell._replace(config=config), epochs, MachinePart(0, at_once))
            line = {"report": report.stem, "row": cell.name, "seed": cell.config.run.seed}
            line |= {"same": replayed == kept[:epochs]}
            print(json.dumps(line | {"replayed": replayed, "kept": kept[:epochs]}), flush=True)


def first_seeds(file: Path, report: Path) -> Iterator[tuple[Cell, list[float]]]:
    """The cells of rows that have a curve, with the validation metric after every epoch."""
    cells = {(cell.name, cell.config.run.seed): cell for cell in read_experiment(file).cells}
    for row in json.loads(report.read_text())["rows"]:
        for curve in row["curves"][:1]:
            yield cells[row["name"], curve["seed"]], curve["validation"]


def first_epochs(cell: Cell, epochs: int, part: MachinePart) -> list[float]:
    """The same of a run that is stopped there; fewer of one that ends before."""
    process = multiprocessing.get_context("spawn").Process(target=train_cell, args=(cell, part))
    process.start()
    while process.is_alive() and len(written(cell)) < epochs:
        time.sleep(0.5)
    process.terminate()
    process.join()
    return [line["validation"] for line in written(cell)[:epochs]]


def written(cell: Cell) -> list[dict[str, Any]]:
    """The epochs so far."""
    log = folder_of(cell) / "metrics.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


if __name__ == "__main__":
    tyro.cli(main)
