"""The trained model of a run folder: its arrays, and the way back from disk."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flax import nnx

from ..disk.buckets import Copy, bucket_path
from ..disk.paths import local_path
from ..disk.text import Json
from .build import build_model
from .config import TrainConfig
from .folder.arrays import CheckpointError, first_line, named, read, read_record, unnamed
from .folder.description import check_belongs, no_run, read_config, without_places
from .folder.published import newest_model

_ANEW = "train.py --resume writes it anew from the run's checkpoints"


def load(folder: str | os.PathLike[str]) -> Any:
    """The trained model of a run folder, ready to predict; dropout is off.

    Inputs must be scaled as in training: the numbers are under "task" in the folder's config.json.

    Raises:
      ValueError: the folder holds no run, or one that was stopped before it had a model, or a
        model that is damaged or belongs to another configuration.
      CheckpointError: files that cannot be read.
    """
    bucket = bucket_path(folder)
    if bucket is None:
        path = local_path(folder).absolute()
        return _load(path, path)
    copy = Copy(bucket)
    try:
        copy.fetch("config.json", "model")
        return _load(copy.path, bucket)
    finally:
        copy.remove()


def _load(path: Path, place: Any) -> Any:
    """The model in `path`, which is a copy of `place` where that is in a bucket."""
    described, newest = read_config(path), newest_model(path)
    if newest is None:
        raise ValueError(f"expected a run with a model in it, got {place}, {_missing(place)}")
    with _whole(newest, place):
        record = read_record(newest)
    check_belongs(record, described, f"the model in {newest}")
    model = _untrained_model(path, described)
    with _whole(newest, place):
        like = model_arrays(model)
        set_arrays(model, unnamed(read(newest, {"best": named(like)})[0]["best"], like))
    model.eval()
    return model


@contextmanager
def _whole(model: Path, place: Any) -> Iterator[None]:
    """Turns whatever damage makes its readers raise into one ValueError."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        advice = _ANEW if _can_write_model(place) else "copy model/ anew from the run's folder"
        raise ValueError(
            f"expected a whole model of this configuration in {model}, got {first_line(error)}; "
            f"{advice}"
        ) from error


def _missing(place: Any) -> str:
    """Why there is no model, and what to do about it."""
    if (place / "model").is_file():
        return "where model is a file; move it away" + f": {_ANEW}" * _can_write_model(place)
    return f"which has none; {_ANEW}" if _can_write_model(place) else "which has none yet"


def _can_write_model(place: Any) -> bool:
    """Whether one of the checkpoints, damaged or not, has a model in it."""
    return any(place.glob("checkpoints/*/best"))


def _untrained_model(path: Path, described: Json) -> nnx.Module:
    """The model that the folder's config.json describes; only its shapes matter."""
    try:
        return build_model(
            TrainConfig.of(**without_places(described["config"])), **described["model"]
        )
    except (ValueError, TypeError) as error:
        raise no_run(path, error) from error


def model_arrays(model: nnx.Module) -> Json:
    """Parameters and fixed hyper-parameters; random streams are not part of a trained model."""
    return nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState)))


def set_arrays(model: nnx.Module, arrays: Json) -> None:
    """Make these arrays, as `model_arrays` returns them, those of `model`."""
    state = nnx.state(model, nnx.Not(nnx.RngState))
    nnx.replace_by_pure_dict(state, arrays)
    nnx.update(model, state)
