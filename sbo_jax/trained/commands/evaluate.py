"""The command that scores a run on labelled data: `sbo-evaluate`, or `scripts/evaluate.py`."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from ...devices.allocator import keep_freed_memory
from ...devices.failures import in_one_sentence
from ...runs.config.command_line import parse
from ...runs.scores import NAMES
from ..evaluation import Evaluation, evaluate
from ..loading import load
from .predict import STANDARD_INPUT, one_or_several
from .rows import output_names


@dataclass(frozen=True)
class Config:
    """How good the answers of a trained run are: for each class or number, and overall.

    Classes have precision, recall, F1 and support, and counts of which was taken for which; numbers
    have MAE, MSE and R2. Where steps have labels, steps are what is counted.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The folder of the run."""
    data: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """Files in the layout of training, with labels, or a dataset.toml that says where these are."""


def evaluate_once(config: Annotated[Config, tyro.conf.arg(name="")]) -> int:
    """Print the tables; exit code 0."""
    if STANDARD_INPUT in config.data:
        raise ValueError(
            "expected the path of data with labels, got -, which predict alone reads; write them "
            "to a file first"
        )
    run = load(config.run)
    evaluation = evaluate(run, one_or_several(config.data))
    is_classes = evaluation.classes is not None
    of_one = _of_classes(evaluation) if is_classes else _of_numbers(evaluation, output_names(run))
    kind = "steps" if run.answering.per_step else "sequences"
    scores = [f"{NAMES.get(name, name)} {_text(x)}" for name, x in evaluation.scores.items()]
    print(f"{len(evaluation.labels)} {kind}: {', '.join(scores)}\n", *of_one, sep="\n")
    return 0


def _of_classes(evaluation: Evaluation) -> Iterator[str]:
    names = list(map(str, evaluation.classes or ()))
    yield from _aligned("class", names, evaluation.per_class)
    yield "\nanswers (columns) for each class (rows)"
    counts = [dict(zip(names, row, strict=True)) for row in evaluation.confusion]
    yield from _aligned("class", names, counts)


def _of_numbers(evaluation: Evaluation, names: Sequence[str]) -> Iterator[str]:
    yield from _aligned("output", names, evaluation.per_output)


def _aligned(head: str, names: Sequence[str], rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line for every row, in columns that end where their names do."""
    heads = [NAMES.get(name, name) for name in rows[0]]
    lines = [[head, *heads]]
    lines += [[name, *map(_text, row.values())] for name, row in zip(names, rows, strict=True)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *others in lines:
        cells = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells])


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@in_one_sentence()
def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Parse and evaluate."""
    return parse(evaluate_once, arguments, description=inspect.getdoc(Config))


def main() -> int:
    """The console script."""
    keep_freed_memory()
    return run_command_line()
