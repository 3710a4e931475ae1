"""PyTorch's recurrent layers as cells that compute the same."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from .gru import TorchGRUCell

TorchWeights = Mapping[str, np.ndarray]


def from_torch(layer: Any) -> nnx.RNNCellBase:
    """A cell with the weights of a one-layer ``torch.nn.RNN``, ``GRU`` or ``LSTM``.

    `nnx.SimpleCell`, `TorchGRUCell` or `nnx.OptimizedLSTMCell`, for `nnx.RNN`.

    Raises:
      ValueError: another layer, several layers, two directions, a projection, or no biases.
    """
    kind = type(layer).__name__
    if kind not in _CONVERTERS:
        raise ValueError(f"expected torch.nn.RNN, GRU or LSTM, got {kind}")
    unsupported = {
        "num_layers": layer.num_layers != 1,
        "bidirectional": layer.bidirectional,
        "proj_size": bool(layer.proj_size),
        "bias": not layer.bias,
        "nonlinearity": getattr(layer, "nonlinearity", "tanh") != "tanh",
    }
    for name, is_so in unsupported.items():
        if is_so:
            raise ValueError(
                f"expected one layer, one direction, biases, tanh and no projection, got "
                f"{name} = {getattr(layer, name)}"
            )
    weights = {
        name: np.array(value.detach().cpu().numpy().T) for name, value in layer.named_parameters()
    }
    return _CONVERTERS[kind](layer.input_size, layer.hidden_size, weights)


def _rnn(in_features: int, hidden_features: int, weights: TorchWeights) -> nnx.RNNCellBase:
    cell = nnx.SimpleCell(in_features, hidden_features, rngs=nnx.Rngs(0))
    _linear(cell.dense_i, weights["weight_ih_l0"], weights["bias_ih_l0"] + weights["bias_hh_l0"])
    _linear(cell.dense_h, weights["weight_hh_l0"], None)
    return cell


def _gru(in_features: int, hidden_features: int, weights: TorchWeights) -> nnx.RNNCellBase:
    cell = TorchGRUCell(in_features, hidden_features, rngs=nnx.Rngs(0))
    names = {
        "kernel": "weight_ih_l0",
        "recurrent": "weight_hh_l0",
        "bias": "bias_ih_l0",
        "recurrent_bias": "bias_hh_l0",
    }
    for ours, theirs in names.items():
        setattr(cell, ours, nnx.Param(jnp.asarray(weights[theirs])))
    return cell


def _lstm(in_features: int, hidden_features: int, weights: TorchWeights) -> nnx.RNNCellBase:
    """Both order the gates i, f, g, o."""
    cell = nnx.OptimizedLSTMCell(in_features, hidden_features, rngs=nnx.Rngs(0))
    _linear(cell.dense_i, weights["weight_ih_l0"], None)
    bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    _linear(cell.dense_h, weights["weight_hh_l0"], bias)
    return cell


def _linear(linear: nnx.Linear, kernel: np.ndarray, bias: np.ndarray | None) -> None:
    linear.kernel = nnx.Param(jnp.asarray(kernel))
    if bias is not None:
        linear.bias = nnx.Param(jnp.asarray(bias))


_CONVERTERS = {"RNN": _rnn, "GRU": _gru, "LSTM": _lstm}
