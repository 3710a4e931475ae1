"""RUN/report.md, and RUN/confusion.png for classes or RUN/predicted.png for numbers.

All numbers below its head are of the test split, as `training.predictions` gives them.
"""

from pathlib import Path

from ..._words import counted
from ...disk.text import Json, replace_text
from ...training.predictions import Predicted
from ..config import TrainConfig
from ..preparation import Prepared
from . import head
from .classes import of_classes
from .markdown import cell
from .numbers import of_numbers
from .pictures import draw, draw_curves


def write_report(
    folder: Path,
    place: str,
    config: TrainConfig,
    prepared: Prepared,
    summary: Json,
    predicted: Predicted | None,
) -> None:
    """Write these files, and curves.png, into the folder of a run that has ended.

    Args:
      folder: where the files go.
      place: where the run is, as a user names it.
      config: what the user asked for; `prepared` has defaults filled in.
      prepared: the run.
      summary: the content of summary.json.
      predicted: of the test split; None for a language model.
    """
    parts = [
        f"# Report of {cell(place)}\n",
        head.lines(prepared, summary),
        head.commands(config, place, prepared.task),
        f"{draw_curves(folder, summary)}\n",
    ]
    if predicted is not None:
        parts.append(_answers(folder, prepared, predicted))
    replace_text(folder / "report.md", "\n".join(parts))


def _answers(folder: Path, prepared: Prepared, predicted: Predicted) -> str:
    """What the model answered for the test split, in a picture and in tables."""
    task = prepared.task
    of, name = (
        (of_classes, "confusion.png")
        if task.metric == "accuracy"
        else (of_numbers, "predicted.png")
    )
    text, figure_of = of(task, predicted)
    steps = f", {counted(len(predicted.targets), 'step')} with a label" * task.per_step
    return "\n".join(
        [
            "## Answers for the test split\n",
            f"{counted(len(task.test), 'sequence')}{steps}.\n",
            f"{draw(folder / name, figure_of)}\n",
            text,
        ]
    )
