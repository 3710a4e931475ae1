"""What a trained run is, on one screen."""

import math
from collections.abc import Iterable
from typing import Any

import jax
from flax import nnx

from .._words import counted
from ..disk.text import Json

_WIDTH = 68


def screen(model: nnx.Module, content: Json, summary: Json | None, place: str | None) -> str:
    """Lines of a name and what it stands for, from config.json and summary.json."""
    lines = {
        "task": _task(content),
        "inputs": _inputs(content),
        "answers": _answers(content),
        "model": _model(model, summary),
        "results": _results(summary) if summary else "not known: there is no summary.json",
    }
    lines |= _ways_on(content)
    head = f"TrainedRun{f' of {place}' if place else ''}"
    return "\n".join([head, *(f"  {name:<8} {text}" for name, text in lines.items() if text)])


def _ways_on(content: Json) -> dict[str, str]:
    if content["model"]["metric"] == "perplexity":
        return {"try": "run.model.predict(words)"}
    return {
        "try": f"run.predict(data), {_probabilities(content)}run.score(data, labels),",
        "": 'run.stream(), run.export("model.zip"), run.model',
    }


def _task(content: Json) -> str:
    counts = content["task"].get("counts")
    samples = f", trained on {counted(counts['train'], 'sample')}" if counts else ""
    return f"{content['config']['task']}{samples}"


def _inputs(content: Json) -> str:
    facts, shape = content["task"], content["model"]
    if shape["metric"] == "perplexity":
        return "words, which run.model reads"
    names = f" ({_shortened(facts['features'])})" if facts.get("features") else ""
    number = shape["in_features"] - len(facts.get("indicated", ()))
    longest = "up to " * ("padded_to" in facts) + counted(shape["length"], "step")
    return f"{counted(number, 'feature')}{names}, {longest} in training"


def _answers(content: Json) -> str:
    shape = content["model"]
    each, number = (
        "every step" if shape.get("per_step") else "every sequence",
        shape["out_features"],
    )
    if shape["metric"] == "perplexity":
        return "the next word"
    if horizon := content["task"].get("horizon"):
        return f"all features {counted(horizon, 'step')} later, for {each}"
    if shape["metric"] == "mse":
        return f"{counted(number, 'number')} for {each}"
    names = _shortened(content["task"].get("classes") or range(number))
    return f"one of {number} classes ({names}) for {each}"


def _probabilities(content: Json) -> str:
    return "run.predict_proba(data), " * (content["model"]["metric"] == "accuracy")


def _model(model: nnx.Module, summary: Json | None) -> str:
    number = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    kind = summary["model"] if summary else type(model).__name__
    return f"{kind}; {counted(number, 'parameter')}"


def _results(summary: Json) -> str:
    test, chosen = summary.get("test"), summary.get("chosen")
    refitted = {"test after the refit": test} if chosen else {}
    numbers = {
        "validation": summary.get("best_validation"),
        "test": chosen["test"] if chosen else test,
        **refitted,
    }
    said = [f"{name} {value:.4g}" for name, value in numbers.items() if value is not None]
    return f"{summary['metric']}: {', '.join(said)}" if said else ""


def _shortened(names: Iterable[Any]) -> str:
    text = ", ".join(map(str, names))
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 4].rpartition(',')[0]}, ..."
