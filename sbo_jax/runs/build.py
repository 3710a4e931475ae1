"""From a configuration to a model."""

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias, assert_never

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from ..lower.hyperparameters import (
    Bounded,
    Fixed,
    Learned,
    LowerHyperparameter,
    Normalised,
    Positive,
    Value,
)
from ..lower.level import LowerLevel
from ..nn.heads import (
    Readout,
    SequenceClassifier,
    SequenceForecaster,
    SequenceRegressor,
    SequenceTagger,
)
from ..nn.language_model import SequenceLanguageModel
from ..nn.layer import SBORNN
from ..nn.recall import RecallRNN
from ..rollouts.equilibria import SequenceEquilibrium, StepEquilibrium, Streamed
from ..rollouts.fused import Fused
from ..rollouts.fused_hopper import ExperimentalFusedHopper
from ..rollouts.fused_tpu import ExperimentalFusedTPU
from ..rollouts.parallel import Parallel
from ..rollouts.reading import Rollout
from ..rollouts.unrolled import Unrolled
from .config import TrainConfig
from .config.model import Layer, Lower
from .config.registry import PEERS
from .suggestions import suggested

Model: TypeAlias = Readout | SequenceLanguageModel
# By metric: of a task with one target for a sequence, and with one for every step.
HEADS: dict[str, tuple[type[Readout], type[Readout]]] = {
    "accuracy": (SequenceClassifier, SequenceTagger),
    "mse": (SequenceRegressor, SequenceForecaster),
}


def lower_level(config: TrainConfig) -> LowerLevel:
    """The preset, with what the configuration changes in it."""
    level = config.hyper.inside(config.lower.level())
    learned = config.method.learn_hyper
    eta = _learnable(level.eta, Positive) if "eta" in learned else level.eta
    mu = _learnable(level.mu, Bounded) if "mu" in learned else level.mu
    return dataclasses.replace(level, eta=eta, mu=mu)


def _learnable(
    hyper: LowerHyperparameter, free: Callable[[Value], LowerHyperparameter]
) -> LowerHyperparameter:
    """The same start, trained in coordinates without bounds."""
    match hyper:
        case Fixed() | Learned():
            return free(hyper.value)
        case Normalised():
            return Normalised(hyper.fraction)
        case _:
            return hyper


def rollout(lower: Lower, platform: str | None = None) -> Rollout:
    """How the sequence is read on such devices, and what is differentiated."""
    count = lower.inner_steps
    damping = 0.1 if lower.damping is None else lower.damping
    match lower.rollout:
        case "unrolled":
            return Unrolled(
                inner_steps=count or 1, remat_chunk=lower.remat_chunk, platform=platform
            )
        case "parallel":
            return Parallel(inner_steps=count or 1)
        case "fused":
            return Fused()
        case "experimental_fused_hopper":
            return ExperimentalFusedHopper()
        case "experimental_fused_tpu":
            return ExperimentalFusedTPU()
        case "sequence":
            return SequenceEquilibrium(num_steps=count or 30, damping=damping)
        case "step":
            return StepEquilibrium(num_steps=count or 30, damping=damping)
        case "streamed":
            return Streamed(passes=count or 1, damping=damping)
        case _:
            assert_never(lower.rollout)


def build_model(
    config: TrainConfig,
    *,
    in_features: int,
    out_features: int,
    metric: str,
    length: int = 1,
    per_step: bool = False,
    platform: str | None = None,
) -> Model:
    """The model of a run on sequences of `length` steps, drawn from the configuration's seed.

    It will run on devices of this platform; None: on JAX's default backend.
    """
    layer, rngs = config.layer, nnx.Rngs(config.run.seed)
    words = metric == "perplexity"
    width = layer.width if words else in_features
    if layer.model == "sbo":
        rnn: nnx.Module = _sbo(config, width, rollout(config.lower, platform), rngs)
    elif layer.model == "recall":
        rnn = _recall(layer, width, rngs)
    else:
        rnn = PEERS[layer.model](width, layer.width, length, rngs)
    names = ("input_dropout", "readout_dropout", "variational_dropout")
    dropout = {name: getattr(layer, name) for name in names}
    if words:
        return SequenceLanguageModel(
            rnn,
            layer.width,
            out_features,
            tied=layer.tied,
            **dropout,
            rngs=rngs,
        )
    return HEADS[metric][per_step](
        rnn,
        layer.width,
        out_features,
        **dropout,
        rngs=rngs,
    )


@lru_cache(maxsize=32)
def check_model(config: TrainConfig) -> None:
    """ValueError for what the model of a run refuses when it is made or reads; nothing is drawn.

    Searches and cross-validation ask again and again, of any configuration: an open width is filled
    in first.
    """
    config = suggested(config)
    if config.layer.model == "sbo":
        level = lower_level(config)  # whose values are checked where they are no tracers
        level.eta.init(1)
        level.mu.init(1)

    def read(inputs: Array) -> Array:
        return build_model(config, in_features=1, out_features=1, metric="mse")(inputs)

    jax.eval_shape(read, jax.ShapeDtypeStruct((1, 2, 1), jnp.float32))


def _sbo(config: TrainConfig, in_features: int, how: Rollout, rngs: nnx.Rngs) -> SBORNN:
    layer = config.layer
    return SBORNN(
        in_features,
        layer.width,
        num_layers=layer.layers,
        dropout=layer.dropout,
        lower=lower_level(config),
        rollout=how,
        dtype=_product_dtype(layer),
        rngs=rngs,
    )


def _recall(layer: Layer, in_features: int, rngs: nnx.Rngs) -> RecallRNN:
    return RecallRNN(
        in_features,
        layer.width,
        num_layers=layer.layers,
        dtype=_product_dtype(layer),
        rngs=rngs,
    )


def _product_dtype(layer: Layer) -> str | None:
    return None if layer.dtype == "float32" else layer.dtype
