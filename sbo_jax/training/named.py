"""Functions and classes by the strings that name them in a configuration, and nowhere else."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from ..heads import SequenceClassifier, SequenceRegressor
from ..hyperparameters import Bounded, Fixed, LowerHyperparameter, Normalised, Positive
from ..language_model import SequenceLanguageModel
from ..operators import Dense, Diagonal, LowRank, Scalar
from ..presets import EQUILIBRIUM, PAPER, STABLE
from ..problems import Residual, Transition
from ..solvers import heavy_ball, nesterov, sgd

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
