"""The arrays of a trained model, and the way back into a model."""

from flax import nnx

from ..disk.text import Json


def model_arrays(model: nnx.Module) -> Json:
    """Parameters and fixed hyper-parameters; random streams are not part of a trained model."""
    return nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState)))


def set_arrays(model: nnx.Module, arrays: Json) -> None:
    """Make these arrays, as `model_arrays` returns them, those of `model`."""
    state = nnx.state(model, nnx.Not(nnx.RngState))
    nnx.replace_by_pure_dict(state, arrays)
    nnx.update(model, state)
