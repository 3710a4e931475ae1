"""The trained model of a run folder: its arrays, and the way back from disk."""

import os
from pathlib import Path
from typing import Any

from flax import nnx

from .build import build_model
from .checkpoints import read_model
from .config import TrainConfig
from .files import Json
from .folder import no_run, read_config, without_places


def load(folder: str | os.PathLike[str]) -> Any:
    """The trained model of a run folder, ready to predict; dropout is off.

    Inputs must be scaled as in training: the numbers are under "task" in the folder's config.json.

    Raises:
      ValueError: the folder holds no run, or one that was stopped before it had a model.
    """
    path = Path(folder).absolute()
    model = _untrained_model(path)
    arrays = read_model(path, model_arrays(model))
    if arrays is None:
        raise ValueError(f"expected a run with a model in it, got {path}, which has none yet")
    set_arrays(model, arrays)
    model.eval()
    return model


def _untrained_model(path: Path) -> nnx.Module:
    """The model that the folder's config.json describes; only its shapes matter."""
    described = read_config(path)
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
