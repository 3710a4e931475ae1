"""The model beside the checkpoints: a copy of the best one, of which at any time one is complete.

    model/NUMBER/              the model of the checkpoint of this number
    model/.sbo_jax.NAME.tmp/   one that is being written, or that has a successor

Nothing else there was written here: it is neither read nor removed.
"""

import itertools
import os
import shutil
from pathlib import Path

from .arrays import CheckpointError

_ITEMS = ("best", "record")


def newest_model(folder: Path) -> Path | None:
    """Where the model of a run folder lies; None if there is none."""
    models = folder.absolute() / "model"
    numbers = _numbers(models)
    return models / str(max(numbers)) if numbers else None


def publish(checkpoint: Path, models: Path) -> None:
    """Copy the model of a checkpoint, then remove the one before."""
    make_folder(models, "move it away, and --resume goes on")
    _clear(models)
    new, target = _temporary(models, "new"), models / checkpoint.name
    for item in _ITEMS:
        shutil.copytree(checkpoint / item, new / item)
    if target.exists() and not _holds(target, new):
        set_aside(target)
    if not target.exists():
        os.replace(new, target)
    for number in _numbers(models) - {int(checkpoint.name)}:
        os.replace(models / str(number), _temporary(models, str(number)))
    _clear(models)


def make_folder(path: Path, advice: str) -> None:
    """With those above it; CheckpointError, which ends in this advice, where a file is."""
    if (path.exists() or path.is_symlink()) and not path.is_dir():
        raise CheckpointError(f"expected a folder, got the file {path}; {advice}")
    path.mkdir(parents=True, exist_ok=True)


def set_aside(path: Path) -> None:
    """Move what is damaged out of the way, beside what was moved before."""
    aside = path.parents[1] / "damaged"
    make_folder(aside, "move it away, and --resume goes on")
    names = (f"{path.parent.name}-{path.name}-{number}" for number in itertools.count(1))
    os.replace(path, next(aside / name for name in names if not (aside / name).exists()))


def _temporary(models: Path, name: str) -> Path:
    return models / f".sbo_jax.{name}.tmp"


def _clear(models: Path) -> None:
    """Remove what is incomplete or has a successor, from here or from a process that was killed."""
    for path in models.glob(_temporary(models, "*").name):
        shutil.rmtree(path)


def _numbers(models: Path) -> set[int]:
    """Of the models: folders of a number, with what a model has in it."""
    return {
        int(path.name)
        for path in models.glob("[1-9]*")
        if path.name.isdecimal() and all((path / item).is_dir() for item in _ITEMS)
    }


def _holds(folder: Path, other: Path) -> bool:
    """Whether every file of the other is in this folder, byte by byte."""
    files = (path for path in other.rglob("*") if path.is_file())
    twins = ((folder / path.relative_to(other), path) for path in files)
    return all(twin.is_file() and twin.read_bytes() == path.read_bytes() for twin, path in twins)
