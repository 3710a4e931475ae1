"""The layers that `--model` names, other than our own: one recurrence each, as its paper has it."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from flax import nnx

from .. import peers

Peer = Literal[
    "rnn",
    "lstm",
    "gru",
    "fast_rnn",
    "fast_grnn",
    "antisymmetric",
    "gated_antisymmetric",
    "irnn",
    "sharnn",
    "indrnn",
    "lipschitz",
    "momentum",
    "momentum_lstm",
    "cornn",
    "unicornn",
    "lem",
]

_CELLS: dict[str, Callable[..., nnx.RNNCellBase]] = {
    "fast_rnn": peers.FastRNNCell,
    "fast_grnn": peers.FastGRNNCell,
    "antisymmetric": peers.AntisymmetricCell,
    "gated_antisymmetric": peers.GatedAntisymmetricCell,
    "irnn": peers.IncrementalCell,
    "lipschitz": peers.LipschitzCell,
    "momentum": peers.MomentumCell,
    "momentum_lstm": peers.MomentumLSTMCell,
    "cornn": peers.CoupledOscillatoryCell,
    "unicornn": peers.UndampedOscillatoryCell,
    "lem": peers.LEMCell,
}
_FLAX_CELLS: dict[str, Callable[..., nnx.RNNCellBase]] = {
    "rnn": nnx.SimpleCell,
    "lstm": nnx.OptimizedLSTMCell,
    "gru": nnx.GRUCell,
}


def build_peer(
    name: str, in_features: int, hidden: int, *, length: int, rngs: nnx.Rngs
) -> nnx.Module:
    """A layer for sequences of `length` steps, called like `nnx.RNN`."""
    if name == "sharnn":
        lstm = partial(nnx.OptimizedLSTMCell, rngs=rngs)
        return peers.ShaRNN(lstm(in_features, hidden), lstm(hidden, hidden), rngs=rngs)
    if name in _FLAX_CELLS:  # which draw from a stream, zeros included
        return nnx.RNN(_FLAX_CELLS[name](in_features, hidden, rngs=rngs), rngs=rngs)
    options: dict[str, Any] = {"length": length} if name == "indrnn" else {}
    cell = peers.IndependentCell if name == "indrnn" else _CELLS[name]
    return nnx.RNN(cell(in_features, hidden, rngs=rngs, **options), rngs=False)
