"""What a run folder knows of its model, under the headings that people look for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._words import counted
from ..runs.config import TrainConfig
from ..runs.folder.description import without_places
from ..runs.report.head import CHOSEN_BY
from ..runs.suggestions import shortest
from ..trained import TrainedRun
from .data import data
from .markdown import bullets, listed, plain
from .results import results

_HEAD = """\
---
library_name: sbo_jax
license: unknown  # to be filled in
tags: [jax, recurrent-neural-network, {tag}]
---
"""
_TAGS = {"accuracy": "classification", "mse": "regression", "perplexity": "language-model"}


def model_card(run: TrainedRun) -> str:
    """Markdown that says what the folder of a run knows of its model.

    What only its author knows is asked for by lines "To be filled in": purpose, origin of the data,
    licence.
    """
    sections = {
        "How to use it": _usage(run),
        "What it is for": ["*To be filled in: purpose, and what it should not be used for.*"],
        "Data": data(run),
        "Training": _training(run),
        "Results": results(run),
        "Limits": [bullets(_limits(run))],
        "Licence": ["*To be filled in, for the model.* The code of sbo_jax is under Apache-2.0."],
    }
    parts = [_HEAD.format(tag=_TAGS[run.metric]), *_opening(run)]
    for title, paragraphs in sections.items():
        parts += [f"## {title}", *paragraphs]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _opening(run: TrainedRun) -> Iterator[str]:
    content, summary = run.content, run.summary or {}
    shape = content["model"]
    yield f"# {plain(_name(run))}"
    each = "every step of a sequence" if shape.get("per_step") else "every sequence"
    if run.metric == "perplexity":
        what = f"predicts the next of {shape['out_features']:,} words"
    elif horizon := content["task"].get("horizon"):
        what = f"predicts all features {counted(horizon, 'step')} later, for {each}"
    elif run.classes is None:
        names = run.reading.new_data.outputs
        number = counted(shape["out_features"], "number")
        what = f"predicts {number} for {each}{f': {listed(names)}' if names else ''}"
    else:
        what = f"gives {each} one of {len(run.classes)} classes: {listed(run.classes)}"
    kind = summary.get("model") or type(run.model).__name__
    size = f", {counted(summary['parameters'], 'parameter')}" if summary else ""
    yield f"A recurrent network that {what}. {kind}{size}."


def _usage(run: TrainedRun) -> Iterator[str]:
    code = "```python\nimport sbo_jax\n\n{}\n```"
    loaded = f'sbo_jax.load("{_name(run)}")'
    if run.metric == "perplexity":
        yield code.format(f"model = {loaded}.model")
        return
    shape, width = run.content["model"], run.reading.num_features
    one = "[N]" if run.classes or shape["out_features"] == 1 else f"[N, {shape['out_features']}]"
    answers = f"N arrays {one.replace('N', 'T_i')}" if shape.get("per_step") else one
    what = "names of classes" if run.classes else "numbers"
    yield code.format(f"run = {loaded}\nrun.predict(data)  # {what}, {answers}")
    names = f", in this order: {listed(run.features)}" if run.features else ""
    yield (
        f"`data` is an array [N, T, {width}], or a list of N arrays [T_i, {width}], in the units "
        f"of the training data{names}. `run.export` writes a zip that answers without sbo_jax."
    )


def _name(run: TrainedRun) -> str:
    """That of its folder; where this was on one machine helps nobody else."""
    return Path(run.place).name if run.place else "RUN"


def _training(run: TrainedRun) -> Iterator[str]:
    config, summary = run.content["config"], run.summary
    if summary is None:
        yield "How training ended is not known: there is no summary.json."
    else:
        yield " ".join(_protocol(config, summary))
        versions = ", ".join(f"{name} {found}" for name, found in summary["versions"].items())
        commit = summary.get("commit")
        of_code = f"; commit {commit} of sbo_jax" if commit else ""
        seconds = f"{summary['seconds']:,} s on {summary['device']}"
        yield f"{seconds}, seed {summary['seed']}. Versions: {versions}{of_code}."
    yield f"Options other than the task's defaults: {', '.join(_options(run.content)) or 'none'}."


def _protocol(config: dict[str, Any], summary: dict[str, Any]) -> Iterator[str]:
    """Which model is kept, and on what samples it was chosen."""
    ended = summary.get("ended") or summary.get("stopped") or "it was cut short"
    yield f"Training ended after {counted(summary['epochs'], 'epoch')}: {ended}."
    yield _chosen(config, summary)
    if steps := summary["refit_steps"]:
        length = counted(steps, "step")
        yield f"The model is of a new training of {length}, on validation samples as well."
    if summary.get("test") is not None:
        yield _looks(summary, config)


def _chosen(config: dict[str, Any], summary: dict[str, Any]) -> str:
    """Why the model is that of its epoch."""
    if summary["best_validation"] is None:
        return "No epoch was validated: this is the model as far as it was trained."
    kept = CHOSEN_BY[config["select"]].format(metric=summary["metric"])
    return f"Epoch {summary['best_epoch']} was chosen: it had {kept}."


def _looks(summary: dict[str, Any], config: dict[str, Any]) -> str:
    """How often the test split was looked at."""
    if config.get("report_test_epochs"):
        return "The test split was looked at after every epoch, which decided nothing."
    if summary.get("chosen"):
        return "The test split was looked at twice, before and after the new training."
    return "The test split was looked at once, with the model that was kept."


def _options(content: dict[str, Any]) -> Iterator[str]:
    """All that say what is computed, beside the seed and what the task's recipe gives."""
    config = shortest(TrainConfig.of(**without_places(content["config"])))
    given = {"seed", *content.get("from_recipe", ())}
    for name, option in TrainConfig.options().items():
        if name not in given and option.value(config) != option.default:
            yield f"`{name} = {content['config'][name]}`"


def _limits(run: TrainedRun) -> Iterator[str]:
    shape, facts = run.content["model"], run.content["task"]
    longest = counted(shape["length"], "step")
    yield (
        f"In training no sequence was longer than {longest}."
        if "padded_to" in facts
        else f"In training every sequence had {longest}."
    )
    if run.metric != "perplexity":
        yield "Data in another unit, or with features in another order, are answered all the same."
    if run.classes:
        each = "step" if shape.get("per_step") else "sequence"
        yield f"Every {each} gets one of the classes above, also one that belongs to none of them."
        yield "Probabilities are those of a softmax; nothing has calibrated them."
    if run.content["config"]["task"] == "folder" and "held_out_groups" not in facts:
        yield (
            "No groups were given, so sequences of one person or device may be in training and "
            "test; others may be answered worse than the results say."
        )
    yield "One seed was trained; another gives other results."
