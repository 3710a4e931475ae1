"""What the names in a configuration stand for: one table each, and the only ones.

A new activation, energy, solver, operator, preset or peer is one line here; the types that command
lines and checks read are made of the tables.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx

from ... import peers
from ..._types import Activation, LowerProblem, LowerSolver, Operator
from ...lower.energies import Residual, Transition
from ...lower.hyperparameters import (
    Bounded,
    Fixed,
    LowerHyperparameter,
    Normalised,
    Positive,
)
from ...lower.level import EQUILIBRIUM, OSCILLATING, PAPER, STABLE, LowerLevel
from ...lower.operators import Dense, Diagonal, LowRank, Scalar, units_interact
from ...lower.solvers import heavy_ball, nesterov, sgd
from ...training.learn_hyper import NAMES as HYPER_NAMES
from ...training.selection import (
    Selection,
    by_epoch,
    by_loss,
    by_metric,
    by_metric_then_loss,
)

MakeCell: TypeAlias = Callable[..., nnx.RNNCellBase]
MakePeer: TypeAlias = Callable[[int, int, int, nnx.Rngs], nnx.Module]
"""From inputs, hidden units, time steps and a random stream to a layer called like `nnx.RNN`."""


def _flax(cell: MakeCell) -> MakePeer:
    """A cell of Flax, which draws from a stream also for states of zeros."""
    return lambda inputs, hidden, _, rngs: nnx.RNN(cell(inputs, hidden, rngs=rngs), rngs=rngs)


def _peer(cell: MakeCell) -> MakePeer:
    return lambda inputs, hidden, _, rngs: nnx.RNN(cell(inputs, hidden, rngs=rngs), rngs=False)


def _independent(inputs: int, hidden: int, length: int, rngs: nnx.Rngs) -> nnx.Module:
    return nnx.RNN(peers.IndependentCell(inputs, hidden, length=length, rngs=rngs), rngs=False)


def _sharnn(inputs: int, hidden: int, length: int, rngs: nnx.Rngs) -> nnx.Module:
    lstm = partial(nnx.OptimizedLSTMCell, rngs=rngs)
    return peers.ShaRNN(lstm(inputs, hidden), lstm(hidden, hidden), rngs=rngs)


PRESETS: Mapping[str, LowerLevel] = {
    "stable": STABLE,
    "oscillating": OSCILLATING,
    "paper": PAPER,
    "equilibrium": EQUILIBRIUM,
}
SOLVERS: Mapping[str, Callable[..., LowerSolver]] = {
    "sgd": sgd,
    "heavy_ball": heavy_ball,
    "nesterov": nesterov,
}
OPERATORS: Mapping[str, Callable[..., Operator]] = {
    "low_rank": LowRank.init,
    "dense": Dense.init,
    "diagonal": Diagonal.init,
    "scalar": Scalar.init,
}
# Of those, the operators whose units do not interact: it is the class that knows.
ELEMENTWISE = tuple(
    name for name, draw in OPERATORS.items() if not units_interact(getattr(draw, "__self__", None))
)
ACTIVATIONS: Mapping[str, Activation] = {
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "identity": jax.nn.identity,
    "tanh": jnp.tanh,
    "softplus": jax.nn.softplus,
}
ENERGIES: Mapping[str, Callable[..., LowerProblem]] = {
    "residual": Residual,
    "transition": Transition,
}
ETA_KINDS: Mapping[str, Callable[[float], LowerHyperparameter]] = {
    "fixed": Fixed,
    "learned": Positive,
    "normalised": Normalised,
    "fixed_normalised": partial(Normalised, trained=False),
}
# Those whose eta is in units of the bound 1/L.
NORMALISED = ("normalised", "fixed_normalised")
MU_KINDS: Mapping[str, Callable[[float], LowerHyperparameter]] = {
    "fixed": Fixed,
    "learned": Bounded,
}
SELECTIONS: Mapping[str, Selection] = {
    "metric": by_metric,
    "loss": by_loss,
    "metric_then_loss": by_metric_then_loss,
    "last": by_epoch,
}
OWN = ("sbo", "recall")
PEERS: Mapping[str, MakePeer] = {
    "rnn": _flax(nnx.SimpleCell),
    "lstm": _flax(nnx.OptimizedLSTMCell),
    "gru": _flax(nnx.GRUCell),
    "fast_rnn": _peer(peers.FastRNNCell),
    "fast_grnn": _peer(peers.FastGRNNCell),
    "antisymmetric": _peer(peers.AntisymmetricCell),
    "gated_antisymmetric": _peer(peers.GatedAntisymmetricCell),
    "irnn": _peer(peers.IncrementalCell),
    "sharnn": _sharnn,
    "indrnn": _independent,
    "lipschitz": _peer(peers.LipschitzCell),
    "momentum": _peer(peers.MomentumCell),
    "momentum_lstm": _peer(peers.MomentumLSTMCell),
    "cornn": _peer(peers.CoupledOscillatoryCell),
    "unicornn": _peer(peers.UndampedOscillatoryCell),
    "lem": _peer(peers.LEMCell),
}

if TYPE_CHECKING:
    Preset: TypeAlias = str
    Solver: TypeAlias = str
    OperatorName: TypeAlias = str
    ActivationName: TypeAlias = str
    Energy: TypeAlias = str
    EtaKind: TypeAlias = str
    MuKind: TypeAlias = str
    ModelName: TypeAlias = str
    HyperName: TypeAlias = str
    SelectionName: TypeAlias = str
else:  # type checkers see text, command lines a choice
    Preset = Literal[tuple(PRESETS)]
    Solver = Literal[tuple(SOLVERS)]
    OperatorName = Literal[tuple(OPERATORS)]
    ActivationName = Literal[tuple(ACTIVATIONS)]
    Energy = Literal[tuple(ENERGIES)]
    EtaKind = Literal[tuple(ETA_KINDS)]
    MuKind = Literal[tuple(MU_KINDS)]
    ModelName = Literal[*OWN, *PEERS]
    HyperName = Literal[HYPER_NAMES]
    SelectionName = Literal[tuple(SELECTIONS)]
