"""The trained model of a run folder, from disk."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from flax import nnx

from ..disk.buckets import Copy, bucket_path
from ..disk.paths import local_path
from ..disk.text import Json
from ..runs.folder.arrays import CheckpointError, first_line, named, read, read_record, unnamed
from ..runs.folder.description import check_belongs, no_run, read_config
from ..runs.folder.published import newest_model
from ..runs.model_arrays import model_arrays, set_arrays
from .rebuilding import untrained
from .trained_run import TrainedRun

_ANEW = "train.py --resume writes it anew from the run's checkpoints"


def load(folder: str | os.PathLike[str]) -> TrainedRun:
    """What a run has learned, ready to answer; dropout is off.

    It may have been trained on other devices, of another kind or number.

    Args:
      folder: a run folder, here or in a bucket (``gs://bucket/run``).

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
        copy.fetch("config.json", "summary.json", "model")
        return _load(copy.path, bucket)
    finally:
        copy.remove()


def _load(path: Path, place: Any) -> TrainedRun:
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
    return TrainedRun(model, described, _summary(path), str(place))


class _Summary(msgspec.Struct):
    """What is read of summary.json."""

    model: str
    metric: str
    best_validation: float | None
    test: float | None = None  # nobody may have looked


def _summary(path: Path) -> Json | None:
    """What summary.json says; None of a run that was cut short, or a damaged file."""
    try:
        content = json.loads((path / "summary.json").read_text(encoding="utf-8"))
        msgspec.convert(content, _Summary)
    except (OSError, ValueError):
        return None
    return dict(content)


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
        return untrained(described)
    except (ValueError, TypeError) as error:
        raise no_run(path, error) from error
