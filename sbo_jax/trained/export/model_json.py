"""What an exported model is, in words and numbers: model.json, which predict.py goes by."""

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from jax.export import Exported

from ..._version import __version__
from ...disk.text import Json
from ..answering import Answering
from ..reading import Reading

# What model.json looks like, for programs that read it.
FORMAT = 1
PROGRAM = "program.bin"


def description(
    program: Exported,
    serialized: bytes,
    reading: Reading,
    answering: Answering,
    content: Json,
    summary: Json | None,
) -> Json:
    """The content of model.json, from what a run keeps in config.json and summary.json."""
    return {
        "format": FORMAT,
        "task": content["config"]["task"],
        "inputs": _inputs(program, reading),
        "answers": _answers(answering),
        "program": {
            "file": PROGRAM,
            "sha256": hashlib.sha256(serialized).hexdigest(),
            "format": f"jax.export, calling convention {program.calling_convention_version}",
            "platforms": list(program.platforms),
            "inputs": dict(zip(("inputs", "lengths"), map(str, program.in_avals), strict=True)),
            "outputs": str(program.out_avals[0]),
            "versions": {"sbo_jax": __version__, "jax": version("jax")},
        },
        "training": _training(content, summary or {}),
    }


def _inputs(program: Exported, reading: Reading) -> Json:
    scaler, gaps, limit, steps = reading.scaler, reading.gaps, reading.limit, program.in_avals[0]
    length = steps.shape[1]
    return {
        "features": list(reading.features) or None,
        "mean": scaler.mean.tolist(),
        "std": scaler.std.tolist(),
        "gaps": gaps.missing,
        "gap_marks": [mark for mark in gaps.stated if not isinstance(mark, str)],
        "indicated": list(scaler.indicated),
        "length": length if isinstance(length, int) else None,
        "max_length": None if limit is None else limit.max_length,
        "keep": None if limit is None else limit.keep,
    }


def _answers(answering: Answering) -> Json:
    """With the mean and std of numbers; None where they were not scaled."""
    classes, scaler = answering.classes, answering.scaler
    return {
        "of": "step" if answering.per_step else "sequence",
        "classes": None if classes is None else classes.tolist(),
        "mean": None if scaler is None else scaler.mean.tolist(),
        "std": None if scaler is None else scaler.std.tolist(),
    }


def _training(content: Json, summary: Mapping[str, Any]) -> Json:
    """What is known of it; None for what is not, as where it was cut short."""
    facts = content["task"]
    known = ("model", "parameters", "metric", "best_epoch", "best_validation", "test", "scores")
    return {
        **{name: summary.get(name) for name in (*known, "seed", "versions", "commit")},
        "samples": facts.get("counts"),
        "samples_sha256": facts.get("sha256"),
    }
