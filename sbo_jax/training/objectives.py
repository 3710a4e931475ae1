"""What the upper level minimises, and what is reported of it."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from .._types import AnyArray

PerSample: TypeAlias = Callable[[Any, Any], Array]


def _as_it_is(mean: float) -> float:
    return mean


class Objective(NamedTuple):
    """A loss to descend and a metric to select by.

    Both are `(predictions, targets) -> [batch]`, or `[batch, time]` where every step is judged.
    `reported` makes of the metric's mean what tables say.
    """

    loss: PerSample
    metric: PerSample
    metric_name: str
    higher_is_better: bool
    reported: Callable[[float], float] = _as_it_is

    def better(self, new: float, old: float) -> bool:
        return new > old if self.higher_is_better else new < old

    @property
    def worst(self) -> float:
        return float("-inf") if self.higher_is_better else float("inf")


def cross_entropy(
    logits: Float[Array, "*batch classes"], labels: Int[AnyArray, "*batch"]
) -> Float[Array, "*batch"]:
    """``-log softmax(logits)[label]``, in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def correct(
    logits: Float[Array, "batch classes"], labels: Int[AnyArray, " batch"]
) -> Float[Array, " batch"]:
    """1 where the most probable class is the label."""
    return (jnp.argmax(logits, axis=-1) == labels).astype(logits.dtype)


def squared_error(
    predictions: Float[Array, "batch outputs"], targets: Float[AnyArray, "batch outputs"]
) -> Float[Array, " batch"]:
    """Mean over the outputs of the squared difference."""
    return jnp.mean((predictions - targets) ** 2, axis=-1)


def _exponential(mean: float) -> float:
    """exp, infinite where that is beyond a float."""
    return math.exp(mean) if mean < 700 else math.inf


ACCURACY = Objective(cross_entropy, correct, "accuracy", higher_is_better=True)
MSE = Objective(squared_error, squared_error, "mse", higher_is_better=False)
PERPLEXITY = Objective(
    cross_entropy, cross_entropy, "perplexity", higher_is_better=False, reported=_exponential
)
OBJECTIVES = {objective.metric_name: objective for objective in (ACCURACY, MSE, PERPLEXITY)}
