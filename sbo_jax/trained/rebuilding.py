"""A model from what config.json says of it and its arrays; models themselves hold functions."""

from flax import nnx

from ..disk.text import Json
from ..runs.build import build_model
from ..runs.config import TrainConfig
from ..runs.folder.description import without_places
from ..runs.model_arrays import set_arrays


def untrained(content: Json) -> nnx.Module:
    """The model that config.json describes; only its shapes matter."""
    config = TrainConfig.of(**without_places(content["config"]))
    return build_model(config, **content["model"])


def rebuilt(content: Json, arrays: Json) -> nnx.Module:
    """The model of these arrays, as `model_arrays` returns them, with dropout off."""
    model = untrained(content)
    set_arrays(model, arrays)
    model.eval()
    return model
