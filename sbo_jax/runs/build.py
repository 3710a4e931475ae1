"""From a configuration to a model: the only place where strings name functions and classes."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx

from .. import peers
from ..lower.energies import Residual, Transition
from ..lower.hyperparameters import (
    Bounded,
    Fixed,
    Learned,
    LowerHyperparameter,
    Normalised,
    Positive,
)
from ..lower.level import EQUILIBRIUM, PAPER, STABLE, LowerLevel
from ..lower.operators import Dense, Diagonal, LowRank, Scalar
from ..lower.solvers import heavy_ball, nesterov, sgd
from ..nn.heads import SequenceClassifier, SequenceRegressor
from ..nn.language_model import SequenceLanguageModel
from ..nn.layer import SBORNN
from ..rollouts.equilibria import SequenceEquilibrium, StepEquilibrium, Streamed
from ..rollouts.fused import Fused
from ..rollouts.parallel import Parallel
from ..rollouts.reading import Rollout
from ..rollouts.unrolled import Unrolled
from .config import TrainConfig

PRESETS = {"stable": STABLE, "paper": PAPER, "equilibrium": EQUILIBRIUM}
ACTIVATIONS = {
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "identity": jax.nn.identity,
    "tanh": jnp.tanh,
    "softplus": jax.nn.softplus,
}
ENERGIES: dict[str, Callable[..., Any]] = {"residual": Residual, "transition": Transition}
SOLVERS = {"sgd": sgd, "heavy_ball": heavy_ball, "nesterov": nesterov}
OPERATORS: dict[str, Callable[..., Any]] = {
    "low_rank": LowRank.init,
    "dense": Dense.init,
    "diagonal": Diagonal.init,
    "scalar": Scalar.init,
}
ETA_KINDS: dict[str, Callable[[float], LowerHyperparameter]] = {
    "fixed": Fixed,
    "learned": Positive,
    "normalised": Normalised,
}
MU_KINDS: dict[str, Callable[[float], LowerHyperparameter]] = {"fixed": Fixed, "learned": Bounded}
Model: TypeAlias = SequenceClassifier | SequenceRegressor | SequenceLanguageModel
HEADS: dict[str, type[SequenceClassifier] | type[SequenceRegressor]] = {
    "accuracy": SequenceClassifier,
    "mse": SequenceRegressor,
}


def lower_level(config: TrainConfig) -> LowerLevel:
    """The preset, with what the configuration changes in it."""
    preset = PRESETS[config.preset]
    changes: dict[str, Any] = {}
    if config.solver is not None:
        changes["solver"] = SOLVERS[config.solver]
    if config.operator is not None:
        changes["operator"] = OPERATORS[config.operator]
    if config.rank is not None:
        changes["operator"] = partial(LowRank.init, rank=config.rank)
    if config.activation is not None or config.energy != "residual":
        phi = ACTIVATIONS[config.activation or "relu"]
        changes["problem"] = ENERGIES[config.energy](phi)
    if config.eta is not None:
        changes["eta"] = ETA_KINDS[config.eta_kind](config.eta)
    if config.mu is not None:
        changes["mu"] = MU_KINDS[config.mu_kind](config.mu)
    return _with_learnable(dataclasses.replace(preset, **changes), config.learned)


def _with_learnable(lower: LowerLevel, names: Sequence[str]) -> LowerLevel:
    """With those of eta and mu in coordinates without bounds that are numbers as they are."""
    free: dict[str, Callable[[Any], Any]] = {"eta": Positive, "mu": Bounded}
    plain = [n for n in free if n in names and isinstance(getattr(lower, n), Fixed | Learned)]
    return dataclasses.replace(lower, **{n: free[n](getattr(lower, n).value) for n in plain})


def rollout(config: TrainConfig) -> Rollout:
    """How the sequence is read, and what is differentiated."""
    count = config.inner_steps
    damping = 0.1 if config.damping is None else config.damping
    match config.rollout:
        case "unrolled":
            return Unrolled(inner_steps=count or 1, remat_chunk=config.remat_chunk)
        case "parallel":
            return Parallel(inner_steps=count or 1)
        case "fused":
            return Fused()
        case "sequence":
            return SequenceEquilibrium(num_steps=count or 30, damping=damping)
        case "step":
            return StepEquilibrium(num_steps=count or 30, damping=damping)
        case "streamed":
            return Streamed(passes=count or 1, damping=damping)


def build_model(
    config: TrainConfig, *, in_features: int, out_features: int, metric: str, length: int = 1
) -> Model:
    """The model of a run on sequences of `length` steps, drawn from the configuration's seed."""
    rngs = nnx.Rngs(config.seed)
    words = metric == "perplexity"
    width = config.hidden if words else in_features
    if config.model == "sbo":
        rnn: nnx.Module = _sbo(config, width, rngs)
    else:
        rnn = build_peer(config.model, width, config.hidden, length=length, rngs=rngs)
    if words:
        return SequenceLanguageModel(rnn, config.hidden, out_features, tied=config.tied, rngs=rngs)
    return HEADS[metric](rnn, config.hidden, out_features, rngs=rngs)


def _sbo(config: TrainConfig, in_features: int, rngs: nnx.Rngs) -> SBORNN:
    return SBORNN(
        in_features,
        config.hidden,
        num_layers=config.layers,
        dropout=config.dropout,
        lower=lower_level(config),
        rollout=rollout(config),
        dtype=None if config.dtype == "float32" else config.dtype,
        rngs=rngs,
    )


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
