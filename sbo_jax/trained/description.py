"""What a trained run is, on one screen."""

import math
from typing import TYPE_CHECKING, Any

import jax
from flax import nnx

if TYPE_CHECKING:
    from .trained_run import TrainedRun

_WIDTH = 68


def screen(run: "TrainedRun") -> str:
    """Lines of a name and what it stands for."""
    lines = {
        "task": _task(run),
        "inputs": _inputs(run),
        "answers": _answers(run),
        "model": _model(run),
        "results": _results(run),
        "try": "run.predict(data), run.predict_proba(data), run.score(data, labels), run.model",
    }
    head = f"TrainedRun{f' of {run.place}' if run.place else ''}"
    return "\n".join([head, *(f"  {name:<8} {text}" for name, text in lines.items() if text)])


def _task(run: "TrainedRun") -> str:
    counts = run.content["task"].get("counts")
    samples = f", trained on {counts['train']} samples" if counts else ""
    return f"{run.config['task']}{samples}"


def _inputs(run: "TrainedRun") -> str:
    if run.metric == "perplexity":
        return "words, which run.model reads"
    reading = run.reading
    names = f" ({_shortened(reading.features)})" if reading.features else ""
    longest = run.content["model"].get("length")
    steps = f"{longest} steps" if reading.is_equal else f"up to {longest} steps"
    return f"{_counted(reading.num_features, 'feature')}{names}, {steps} in training"


def _answers(run: "TrainedRun") -> str:
    each = "every step" if run.content["model"].get("per_step") else "every sequence"
    if run.metric == "perplexity":
        return "the next word"
    if run.classes is None:
        return f"{_counted(run.content['model']['out_features'], 'number')} for {each}"
    return f"one of {len(run.classes)} classes ({_shortened(run.classes)}) for {each}"


def _model(run: "TrainedRun") -> str:
    leaves = jax.tree.leaves(nnx.state(run.model, nnx.Param))
    number = sum(math.prod(leaf.shape) for leaf in leaves)
    kind = run.summary["model"] if run.summary else type(run.model).__name__
    return f"{kind}; {number:,} parameters"


def _results(run: "TrainedRun") -> str:
    summary = run.summary
    if not summary:
        return "none yet: training was cut short"
    numbers = {"validation": summary.get("best_validation"), "test": summary.get("test")}
    said = [f"{name} {value:.4g}" for name, value in numbers.items() if value is not None]
    return f"{summary['metric']}: {', '.join(said)}" if said else ""


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _shortened(names: Any) -> str:
    text = ", ".join(map(str, names))
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 4].rpartition(',')[0]}, ..."
