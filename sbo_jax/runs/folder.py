"""A run on disk: what was asked, what happened, and the best model so far.

    config.json     the configuration and the facts of the task
    metrics.jsonl   one line per epoch; a function of the configuration alone
    timing.jsonl    seconds per epoch
    checkpoints/    what training needs to go on (orbax)
    model/          the best parameters so far (orbax)
    tensorboard/    event files, where asked for
    summary.json    written last
    curves.png      written last

Every file is written under a temporary name and renamed, so that a reader, or a crash, never meets
half of one.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as orbax
from flax import nnx

from ..devices.processes import by_first
from ..tasks._types import Recipe, Task
from .build import build_model
from .checkpoints import CheckpointError, explained, manager
from .config import TrainConfig

# What config.json looks like; a folder of another format is refused.
FORMAT = 1

# What a model must know of its task.
TASK_SHAPE = ("in_features", "out_features", "metric", "length")


class RunFolder:
    """Creates and fills a run folder; a context manager, since models are saved asynchronously.

    Of several processes the first one does; in the others all this does nothing.
    """

    def __init__(self, path: Path, *, resume: bool = False):
        """Create the folder, or with `resume` open a run; ValueError if it holds anything else."""
        self.path = path
        self._lines: dict[str, list[str]] = {}
        self._open(resume)

    @by_first
    def _open(self, resume: bool) -> None:
        path = self.path
        holds_run = resume and (path / "config.json").is_file()
        if not holds_run and path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise ValueError(
                f"expected a new or empty run folder, got {path}, which exists and is not empty; "
                f"choose another one with --out or remove it, or go on with --resume if it is a run"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"expected a run folder that can be created, got {path} ({error.strerror}); "
                f"choose another one with --out"
            ) from error

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        if "_models" in vars(self):
            with explained(self.path):
                self._models.close()

    @by_first
    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        self._write(name, json.dumps(content, indent=2, default=str) + "\n")

    @by_first
    def append_line(self, name: str, content: Mapping[str, Any]) -> None:
        lines = self._lines.setdefault(name, [])
        lines.append(json.dumps(content) + "\n")
        self._write(name, "".join(lines))

    @by_first
    def cut(self, epoch: int) -> None:
        """Forget everything after this epoch: lines, and models that later epochs found.

        Raises:
          CheckpointError: metrics.jsonl does not tell of every epoch up to this one.
        """
        self._check_metrics(epoch)
        for name in ("metrics.jsonl", "timing.jsonl"):
            if (self.path / name).exists():
                lines = (self.path / name).read_text(encoding="utf-8").splitlines(keepends=True)
                self._lines[name] = lines[:epoch]
                self._write(name, "".join(self._lines[name]))
        if (self.path / "model").exists():
            for step in [step for step in self._models.all_steps() if step > epoch]:
                self._models.delete(step)

    def _check_metrics(self, epoch: int) -> None:
        path = self.path / "metrics.jsonl"
        try:
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            told = [json.loads(line)["epoch"] for line in text.splitlines()[:epoch]]
        except (ValueError, TypeError, KeyError) as error:
            raise CheckpointError(
                f"expected lines of metrics in {path}, got {error!r}; put the file back as it was"
            ) from error
        if told != list(range(1, epoch + 1)):
            raise CheckpointError(
                f"expected the epochs 1 to {epoch} in {path}, got {told}; put the file back as it "
                f"was, or start a new run"
            )

    @by_first
    def save_model(self, epoch: int, model: nnx.Module) -> None:
        """Keep this model in the place of an earlier one, which goes when this one stands."""
        if epoch == self._models.latest_step():
            return
        # Of NumPy: orbax takes a jax.Array for a part of one that all processes save together.
        arrays = jax.tree.map(np.asarray, _arrays(model))
        with explained(self.path):
            self._models.save(epoch, args=orbax.args.StandardSave(arrays))

    @cached_property
    def _models(self) -> orbax.CheckpointManager:
        """Opened with the first model: a sweep keeps none."""
        return _model_store(self.path)

    def _write(self, name: str, text: str) -> None:
        temporary = self.path / f".{name}.tmp"
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, self.path / name)


def describe(config: TrainConfig, recipe: Recipe, task: Task) -> dict[str, Any]:
    """The content of config.json: what was asked, with the task's recipe filled in."""
    model = {name: getattr(task, name) for name in TASK_SHAPE}
    return {
        "format": FORMAT,
        "config": config.flat() | dataclasses.asdict(recipe),
        "model": model,
        "task": dict(task.facts),
    }


@by_first
def check_same_run(path: Path, described: dict[str, Any]) -> None:
    """ValueError, field by field, unless the folder's config.json, if any, describes this run."""
    if not (path / "config.json").is_file():
        return
    here, there = _comparable(described), _comparable(_read_config(path))
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
    return _without_places(fields["config"]) | {
        f"task {name}": value for name, value in fields["task"].items()
    }


def _without_places(config: dict[str, Any]) -> dict[str, Any]:
    places = TrainConfig.places()
    return {name: value for name, value in config.items() if name not in places}


def load(folder: str | os.PathLike[str]) -> Any:
    """The trained model of a run folder, ready to predict; dropout is off.

    Inputs must be scaled as in training: the numbers are under "task" in the folder's config.json.

    Raises:
      ValueError: the folder holds no run, or one that was stopped before it had a model.
    """
    path = Path(folder).absolute()
    model = _untrained_model(path)
    with _model_store(path) as models:
        if models.latest_step() is None:
            raise ValueError(f"expected a run with a model in it, got {path}, which has none yet")
        template = orbax.args.StandardRestore(_arrays(model))
        arrays = models.restore(models.latest_step(), args=template)
    state = nnx.state(model, nnx.Not(nnx.RngState))
    nnx.replace_by_pure_dict(state, arrays)
    nnx.update(model, state)
    model.eval()
    return model


def _untrained_model(path: Path) -> nnx.Module:
    """The model that the folder's config.json describes; only its shapes matter."""
    described = _read_config(path)
    try:
        return build_model(
            TrainConfig.of(**_without_places(described["config"])), **described["model"]
        )
    except (ValueError, TypeError) as error:
        raise _no_run(path, error) from error


def _read_config(path: Path) -> dict[str, Any]:
    try:
        described = json.loads((path / "config.json").read_text(encoding="utf-8"))
        for part in ("config", "model", "task"):
            described[part].items()
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _no_run(path, error) from error
    if described.get("format") != FORMAT:
        raise ValueError(
            f"expected a run folder of format {FORMAT}, got {described.get('format')} in {path}; "
            f"use the version of sbo_jax that wrote it, or start a new run"
        )
    return described


def _no_run(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"expected a run folder with a complete config.json, got {path} ({error!r}); "
        f"give the folder that scripts/train.py printed"
    )


def _arrays(model: nnx.Module) -> dict[Any, Any]:
    """Parameters and fixed hyper-parameters; random streams are not part of a trained model."""
    return nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState)))


def _model_store(path: Path) -> orbax.CheckpointManager:
    return manager(path / "model", keep=1)
