"""What a report is of: the run in a few lines, and the commands that use it."""

import shlex

from ..._words import counted
from ...disk.text import Json
from ...tasks._types import Task
from ...tasks.account import absent_classes
from ..config import TrainConfig
from ..preparation import Prepared
from ..scores import NAMES
from ..test_split.bootstrap import FEW_UNITS
from .markdown import table

CHOSEN_BY = {
    "metric": "the best validation {metric}",
    "loss": "the least validation loss",
    "metric_then_loss": "the best validation {metric}, ties broken by the loss",
    "last": "the last place, whatever its validation",
}
"""What the epoch that is kept has, by what chooses it."""


def lines(prepared: Prepared, summary: Json) -> str:
    """A table of what was trained on what, and with which result."""
    task, config = prepared.task, prepared.config
    data = f", {config.data.folder}" if config.data.folder else ""
    rows = [
        ["task", f"{task.name}{data}"],
        ["predicts", _predicts(task)],
        ["split", _split(task)],
        ["held out", _held_out(task)],
        ["model", f"{summary['model']}; {counted(summary['parameters'], 'parameter')}"],
        ["epoch", _epoch(prepared, summary)],
        ["validation", f"{summary['metric']} {summary['best_validation']:.4g}"],
        *_protocols(summary),
        ["intervals", _resampled(summary)],
        ["seed", summary["seed"]],
        ["made with", f"sbo_jax {summary['versions']['sbo_jax']} on {summary['device']}"],
    ]
    return table(["", ""], [[name, str(text)] for name, text in rows if text != ""])


def commands(config: TrainConfig, place: str, task: Task) -> str:
    """How to use the run, and to go on with it, as somebody types it."""
    run = shlex.quote(place)
    typed = [
        "# go on with this run, or make its report anew",
        f"python scripts/train.py {options(config, place)}",
    ]
    if task.metric != "perplexity":
        typed = [
            "# answers for new data in the layout of the training data",
            f"python scripts/predict.py {run} DATA --out predictions.csv",
            "# scores for new data with labels",
            f"python scripts/evaluate.py {run} DATA",
            *typed,
        ]
    return "\n".join(["```bash", *typed, "```\n"])


def options(config: TrainConfig, place: str) -> str:
    """The options of a command that goes on with a run: those that differ from their defaults."""
    fresh = config.changed(out=None, resume=False)
    return " ".join([*fresh.typed(), f"--out {shlex.quote(place)} --resume"])


def _predicts(task: Task) -> str:
    if task.metric == "perplexity":
        return "the next word"
    where = "every step" if task.per_step else "every sequence"
    if horizon := task.facts.get("horizon"):
        return f"all features {counted(horizon, 'step')} later, for {where}"
    if task.metric == "accuracy":
        return f"one of {counted(task.out_features, 'class', 'classes')} for {where}"
    return f"{counted(task.out_features, 'number')} for {where}"


def _split(task: Task) -> str:
    counts = task.facts.get("counts", {})
    names = {"train": "training"}
    return ", ".join(f"{count:,} for {names.get(part, part)}" for part, count in counts.items())


def _held_out(task: Task) -> str:
    """How validation and test samples were chosen, where the data set states it."""
    groups = task.facts.get("held_out_groups", {})
    rules = []
    for part in ("validation", "test"):
        if rule := task.facts.get(part):
            named = f" ({', '.join(map(str, groups[part]))})" if groups.get(part) else ""
            rules.append(f"for {part} {rule}{named}")
    absent = [f"none of {names} in {part}" for part, names in absent_classes(task).items()]
    return "; ".join([*rules, *absent])


def _epoch(prepared: Prepared, summary: Json) -> str:
    rule = CHOSEN_BY[prepared.recipe.select].format(metric=summary["metric"])
    text = f"{summary['best_epoch']} of {summary['epochs']}, by {rule}; {summary['ended']}"
    if summary["refit_steps"] is not None:
        steps = counted(summary["refit_steps"], "step")
        text += f"; then trained anew on training and validation, {steps}"
    return text


def _protocols(summary: Json) -> list[list[str]]:
    """What was reached on the test split, by each way to choose a model that was asked for."""
    if summary["chosen"] is None:
        rows = [["test", _test(summary, summary)]]
    else:
        rows = [
            ["test, epoch of validation", _test(summary, summary["chosen"])],
            ["test, refit", _test(summary, summary)],
        ]
    if summary.get("best_test") is not None:
        best = f"{summary['metric']} {summary['best_test']:.4g}, epoch {summary['best_test_epoch']}"
        rows.append(["best test epoch, as the paper's release chooses; decides nothing", best])
    return rows


def _test(summary: Json, found: Json) -> str:
    """The metric and the scores beside it, each with its interval."""
    numbers = {summary["metric"]: found["test"]} | (found["scores"] or {})
    told = []
    for name, value in numbers.items():
        if value is None:
            continue
        ends = (found["intervals"] or {}).get(name)
        interval = f" ({ends[0]:.4g} to {ends[1]:.4g})" if ends else ""
        known = name if name == summary["metric"] else NAMES[name]
        told.append(f"{known} {value:.4g}{interval}")
    return ", ".join(told)


def _resampled(summary: Json) -> str:
    """What the intervals are."""
    drawn = summary["resampled"]
    text = f"95 %, bootstrap of {counted(drawn['count'], drawn['unit'])} of the test split"
    if drawn["unit"] == "group" and drawn["count"] < FEW_UNITS:
        text += "; so few groups make them too narrow"
    return text
