"""What config.json says of a run, and what has to say the same before the run goes on."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ...devices.processes import by_first
from ...disk.text import Json
from ...tasks._types import Recipe, Task
from ..config import Options, TrainConfig
from ..config.sweep import SweepConfig

# What config.json looks like, and what its presets mean; a folder of another format is refused.
FORMAT = 2

# What a run leaves that nothing else in its folder can bring back.
RESULTS = ("metrics.jsonl", "model", "summary.json")

# The checksum of a user's own samples, among the fields that are compared.
_SAMPLES = "task sha256"

# What a model must know of its task.
TASK_SHAPE = ("in_features", "out_features", "metric", "length", "per_step")


def describe(
    config: Options, recipe: Recipe, task: Task, kind: Literal["config", "sweep"] = "config"
) -> dict[str, Any]:
    """The content of config.json: what was asked, with the task's recipe filled in.

    The options have the name `kind`, which tells a sweep from a single run; `from_recipe` names
    those that nobody asked to differ from the recipe.
    """
    model = {name: getattr(task, name) for name in TASK_SHAPE}
    asked, own = config.flat(), dataclasses.asdict(task.recipe)
    return {
        "format": FORMAT,
        kind: asked | dataclasses.asdict(recipe),
        "from_recipe": [name for name in own if asked.get(name) in (None, own[name])],
        "model": model,
        "task": dict(task.facts),
        **({} if task.layout is None else {"layout": dict(task.layout)}),
    }


def identity(described: Mapping[str, Any]) -> Json:
    """What the record of a checkpoint, and so of a model, says of the configuration it belongs to.

    All that config.json says except places, and the SHA-256 of that.
    """
    content = _as_json(described)
    kind = _kind(content)
    content[kind] = without_places(content[kind])
    text = json.dumps(content, sort_keys=True)
    return {"describes": hashlib.sha256(text.encode()).hexdigest(), "described": content}


def check_belongs(record: Json, described: Mapping[str, Any], what: str) -> None:
    """ValueError, field by field, unless `what`, which has this record, belongs to config.json."""
    here = identity(described)
    if record.get("describes") == here["describes"]:
        return
    different = _differences(record.get("described"), here["described"])
    if different or "described" not in record:
        raise ValueError(
            f"expected the configuration that {what} belongs to, got a config.json that was edited "
            f"or belongs to another run{different and f': {different}'}; put config.json back as "
            f"it was"
        )


@by_first
def check_same_run(path: Path, described: dict[str, Any]) -> None:
    """ValueError, field by field, unless the folder's config.json, if any, describes this run."""
    if not (path / "config.json").is_file():
        return
    there = _read_json(path)
    if _kind(there) != _kind(described):
        what = {"config": "a single run", "sweep": "a sweep"}
        raise ValueError(
            f"expected the folder of {what[_kind(described)]}, got that of {what[_kind(there)]}, "
            f"{path}; choose another one with --out"
        )
    if different := _differences(_checked(path, there), described):
        raise ValueError(
            f"expected the configuration of the run in {path}, got another: {different}; give the "
            f"options of that run, or choose another folder with --out"
        )


def _differences(there: Json | None, here: Mapping[str, Any]) -> str:
    """Of two contents of config.json, in what decides the computation; "" if one is not known."""
    if there is None:
        return ""
    old, new = _comparable(there), _comparable(here)
    if old.get(_SAMPLES) != new.get(_SAMPLES):  # and what is said of them
        old, new = (
            {name: value for name, value in each.items() if not name.startswith("task ")}
            for each in (old, new)
        )
        others = _listed_differences(old, new)
        return "the samples have changed" + (f"; {others}" if others else "")
    return _listed_differences(old, new)


def _listed_differences(old: Json, new: Json) -> str:
    return "; ".join(
        f"{name} is {old.get(name)!r:.80} there and {new.get(name)!r:.80} here"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )


def _comparable(described: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that decide what a run computes, as JSON has them.

    An option that the version of sbo_jax that began a run did not have is at its default.
    """
    fields = _as_json(described)
    kind = _kind(fields)
    return (
        without_places(_defaults(kind) | fields[kind])
        | {f"model {name}": value for name, value in fields["model"].items()}
        | {f"task {name}": value for name, value in fields["task"].items()}
        | {f"dataset.toml {name}": value for name, value in fields.get("layout", {}).items()}
    )


@cache
def _defaults(kind: Literal["config", "sweep"]) -> Json:
    """Every option at its default, as JSON has it; those of a recipe at what changes nothing."""
    options = (TrainConfig if kind == "config" else SweepConfig)().flat()
    recipe = {field.name: field.default for field in dataclasses.fields(Recipe)}
    filled = {name: value for name, value in recipe.items() if value is not dataclasses.MISSING}
    return _as_json(options | filled)


def _as_json(content: Mapping[str, Any]) -> Json:
    """The content as it is read back from config.json."""
    return json.loads(json.dumps(content, default=str))


def _kind(described: Mapping[str, Any]) -> Literal["config", "sweep"]:
    return "sweep" if "sweep" in described else "config"


def without_places(config: dict[str, Any]) -> dict[str, Any]:
    places = TrainConfig.places()
    return {name: value for name, value in config.items() if name not in places}


def read_config(path: Path) -> dict[str, Any]:
    """What a single run's config.json describes; ValueError for a folder without a whole one."""
    described = _read_json(path)
    if "sweep" in described:
        raise ValueError(
            f"expected the folder of a single run, got that of a sweep, {path}, which keeps no "
            f"model; give a folder that scripts/train.py printed"
        )
    return _checked(path, described)


def _read_json(path: Path) -> dict[str, Any]:
    """The content of config.json; ValueError for a folder without a whole one."""
    try:
        described = json.loads((path / "config.json").read_text(encoding="utf-8"))
        _check_whole(described)
    except Exception as error:  # whatever damaged JSON makes its reader raise
        raise no_run(path, error) from error
    return described


def _check_whole(described: Json) -> None:
    """Raises whatever comes of an entry that is missing and that every config.json has."""
    kind = _kind(described)
    for part in (kind, "model", "task"):
        described[part].items()
    if "task" not in described[kind]:
        raise KeyError(f"{kind}.task")


def _checked(path: Path, described: dict[str, Any]) -> dict[str, Any]:
    """The same; ValueError where another version of sbo_jax wrote it."""
    if described.get("format") != FORMAT:
        raise ValueError(
            f"expected a run folder of format {FORMAT}, got {described.get('format')} in {path}; "
            f"use the version of sbo_jax that wrote it, or start a new run"
        )
    return described


def holds_run(folder: Any) -> bool:
    """Whether there is anything in a folder that a run leaves there, whole or not."""
    return any((folder / name).exists() for name in ("checkpoints", *RESULTS))


def no_run(path: Path, error: Exception) -> ValueError:
    advice = (
        "put config.json back as it was"
        if holds_run(path) or (path / "config.json").is_file()
        else "give the folder that scripts/train.py printed"
    )
    return ValueError(
        f"expected a run folder with a complete config.json, got {path} ({error!r}); {advice}"
    )
