"""The command that answers for new data: `sbo-predict`, or `python scripts/predict.py`."""

import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ...devices.allocator import keep_freed_memory
from ...devices.failures import in_one_sentence
from ...runs.config.command_line import parse
from ...tasks.own.table import Table
from ..loading import load
from ..trained_run import TrainedRun
from .output import Output
from .rows import rows

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Config:
    """The answers of a trained run for new data, as CSV or Parquet: id, answer, probability.

    Of every step, where steps have labels: id, step, and time where the data have it. Numbers have
    no probability, and a column each where several are predicted.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The folder of the run."""
    data: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """Files in the layout of training, or a dataset.toml; - reads a long table, as CSV whose rows
    of a sequence are together, from standard input."""
    out: Path | None = None
    """A new file .csv or .parquet; by default CSV on standard output."""


def predict(config: Annotated[Config, tyro.conf.arg(name="")]) -> int:
    """Write the answers; exit code 0."""
    with Output(config.out) as output:
        run = load(config.run)
        for table in _tables(run, config.data):
            output.write(rows(run, table, run.answers_of(table)))
    if output.path is not None:
        print(f"{output.path}: {output.rows} answers")
    return 0


def _tables(run: TrainedRun, data: Sequence[str]) -> Iterator[Table]:
    if data == (STANDARD_INPUT,):
        with open(sys.stdin.fileno(), "rb", closefd=False) as stream:
            yield from run.reading.piped(stream)
    else:
        yield run.table(one_or_several(data))


def one_or_several(data: Sequence[str]) -> str | list[str]:
    """The path, or the paths, that a command line gives."""
    if not data:
        raise ValueError("expected a path of data after that of the run, got none")
    return data[0] if len(data) == 1 else list(data)


@in_one_sentence()
def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Parse and predict."""
    return parse(predict, arguments, description=inspect.getdoc(Config))


def main() -> int:
    """The console script."""
    keep_freed_memory()
    return run_command_line()
