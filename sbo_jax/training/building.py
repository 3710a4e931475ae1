"""From a configuration to a model."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from flax import nnx

from ..hyperparameters import Bounded, Fixed, Learned, Positive
from ..language_model import SequenceLanguageModel
from ..layers import SBORNN
from ..operators import LowRank
from ..presets import LowerLevel
from ..rollouts import (
    Fused,
    Parallel,
    Rollout,
    SequenceEquilibrium,
    StepEquilibrium,
    Streamed,
    Unrolled,
)
from .config import TrainConfig
from .models import build_peer
from .named import (
    ACTIVATIONS,
    ENERGIES,
    ETA_KINDS,
    HEADS,
    MU_KINDS,
    OPERATORS,
    PRESETS,
    SOLVERS,
    Model,
)


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
