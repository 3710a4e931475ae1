"""What config.json says of a run, and what has to say the same before the run goes on."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..devices.processes import by_first
from ..tasks._types import Recipe, Task
from .config import TrainConfig

# What config.json looks like; a folder of another format is refused.
FORMAT = 1

# What a model must know of its task.
TASK_SHAPE = ("in_features", "out_features", "metric", "length", "per_step")


def describe(config: TrainConfig, recipe: Recipe, task: Task) -> dict[str, Any]:
    """The content of config.json: what was asked, with the task's recipe filled in."""
    model = {name: getattr(task, name) for name in TASK_SHAPE}
    return {
        "format": FORMAT,
        "config": config.flat() | dataclasses.asdict(recipe),
        "model": model,
        "task": dict(task.facts),
    }


def digest(described: Mapping[str, Any]) -> str:
    """SHA-256 of all that config.json says except places: a model belongs to it."""
    content = json.loads(json.dumps(described, default=str))
    content["config"] = without_places(content["config"])
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@by_first
def check_same_run(path: Path, described: dict[str, Any]) -> None:
    """ValueError, field by field, unless the folder's config.json, if any, describes this run."""
    if not (path / "config.json").is_file():
        return
    here, there = _comparable(described), _comparable(read_config(path))
    different = [
        f"{name} is {there.get(name)!r} there and {here.get(name)!r} here"
        for name in sorted(here.keys() | there.keys())
        if here.get(name) != there.get(name)
    ]
    if different:
        raise ValueError(
            f"expected the configuration of the run in {path}, got another: {'; '.join(different)}"
        )


def _comparable(described: dict[str, Any]) -> dict[str, Any]:
    """The fields that decide what a run computes, as JSON has them."""
    fields = json.loads(json.dumps(described, default=str))
    return without_places(fields["config"]) | {
        f"task {name}": value for name, value in fields["task"].items()
    }


def without_places(config: dict[str, Any]) -> dict[str, Any]:
    places = TrainConfig.places()
    return {name: value for name, value in config.items() if name not in places}


def read_config(path: Path) -> dict[str, Any]:
    """What a folder's config.json describes; ValueError for a folder without a whole one."""
    try:
        described = json.loads((path / "config.json").read_text(encoding="utf-8"))
        for part in ("config", "model", "task"):
            described[part].items()
    except Exception as error:  # whatever damaged JSON makes its reader raise
        raise no_run(path, error) from error
    if described.get("format") != FORMAT:
        raise ValueError(
            f"expected a run folder of format {FORMAT}, got {described.get('format')} in {path}; "
            f"use the version of sbo_jax that wrote it, or start a new run"
        )
    return described


def no_run(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"expected a run folder with a complete config.json, got {path} ({error!r}); "
        f"give the folder that scripts/train.py printed"
    )
