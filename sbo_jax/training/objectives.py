"""What the upper level minimises, by what a model is selected, and how both are shown."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from .._types import AnyArray, AxisScale

PerSample: TypeAlias = Callable[[Any, Any], Array]


def _identity(mean: float) -> float:
    return mean


def three_digits(mean: float, deviation: float | None) -> str:
    """``0.123 ± 0.004``, or the mean alone."""
    return f"{mean:.3g}" if deviation is None else f"{mean:.3g} ± {deviation:.1g}"


def per_cent(mean: float, deviation: float | None) -> str:
    """``98.7 ± 0.1 %`` for a fraction, or the mean alone."""
    spread = "" if deviation is None else f" ± {100 * deviation:.1f}"
    return f"{100 * mean:.1f}{spread} %"


class Objective(NamedTuple):
    """A loss to descend, a metric to select by, and how tables and figures show them.

    Args:
      loss: ``(predictions, targets) -> [batch]``, or `[batch, time]` where every step is judged.
      metric: likewise.
      metric_name: in files and options.
      higher_is_better: of the metric.
      label: the metric on an axis, with its unit.
      loss_unit: the unit of the loss.
      reported: what is reported of the metric's mean over samples.
      scale: of an axis for the metric.
      loss_scale: of an axis for the loss.
      limits: the smallest and the largest possible metric, None for an unbounded one.
      spread: ``(mean, deviation or None) -> text`` of a table.
    """

    loss: PerSample
    metric: PerSample
    metric_name: str
    higher_is_better: bool
    label: str
    loss_unit: str
    reported: Callable[[float], float] = _identity
    scale: AxisScale = "linear"
    loss_scale: AxisScale = "log"
    limits: tuple[float, float] | None = None
    spread: Callable[[float, float | None], str] = three_digits


def cross_entropy(
    logits: Float[Array, "*batch classes"], labels: Int[AnyArray, "*batch"]
) -> Float[Array, "*batch"]:
    """``-log softmax(logits)[label]``, in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def correct(
    logits: Float[Array, "*batch classes"], labels: Int[AnyArray, "*batch"]
) -> Float[Array, "*batch"]:
    """1 where the most probable class is the label; NaN among logits that are not all finite.

    There argmax would find a class too, and the label's as often as by chance.
    """
    is_label = (jnp.argmax(logits, axis=-1) == labels).astype(logits.dtype)
    return jnp.where(jnp.isfinite(logits).all(axis=-1), is_label, jnp.nan)


def squared_error(
    predictions: Float[Array, "*batch outputs"], targets: Float[AnyArray, "*batch outputs"]
) -> Float[Array, "*batch"]:
    """Mean over the outputs of the squared difference."""
    return jnp.mean((predictions - targets) ** 2, axis=-1)


def _exponential(mean: float) -> float:
    """exp, infinite where that is beyond a float."""
    return math.exp(mean) if mean < 700 else math.inf


ACCURACY = Objective(
    cross_entropy,
    correct,
    "accuracy",
    higher_is_better=True,
    label="accuracy (fraction)",
    loss_unit="nats",
    limits=(0, 1),
    spread=per_cent,
)
"""Classes: cross-entropy, and the fraction of samples whose most probable class is the label."""
MSE = Objective(
    squared_error,
    squared_error,
    "mse",
    higher_is_better=False,
    label="MSE",
    loss_unit="squared error",
    scale="log",
)
"""Numbers: the mean squared error is loss and metric."""
PERPLEXITY = Objective(
    cross_entropy,
    cross_entropy,
    "perplexity",
    higher_is_better=False,
    label="perplexity",
    loss_unit="nats per word",
    reported=_exponential,
    loss_scale="linear",  # a logarithm already, and never near 0
)
"""Tokens: cross-entropy, and its exponential."""


@lru_cache(maxsize=8)
def in_unit(std: tuple[float, ...]) -> Objective:
    """`MSE` of targets divided by `std` [k]: the metric in their own unit, the loss without one."""
    squares = np.square(std)

    def squared_error_in_unit(
        predictions: Float[Array, "*batch outputs"], targets: Float[AnyArray, "*batch outputs"]
    ) -> Float[Array, "*batch"]:
        errors = (predictions - targets) ** 2
        weights = jnp.broadcast_to(jnp.asarray(squares, errors.dtype), errors.shape)
        return jnp.mean(weights * errors, axis=-1)

    return MSE._replace(metric=squared_error_in_unit)


def balanced(counts: Sequence[int] | np.ndarray) -> Objective:
    """`weighted` by N / (K n_k), of n_k samples out of N in class k, and K classes with samples.

    The mean weight over these samples is 1. A class without samples has no weight.
    """
    known = np.asarray(counts, np.float64)
    shared = known.sum() / np.count_nonzero(known)
    return weighted(tuple(np.where(known > 0, shared / np.maximum(known, 1), 0).tolist()))


@dataclass(frozen=True)
class Weighted:
    """``weights[label] * loss(logits, label)``, of any cross-entropy."""

    weights: tuple[float, ...]
    loss: PerSample = cross_entropy

    def __call__(
        self, logits: Float[Array, "*batch classes"], labels: Int[AnyArray, "*batch"]
    ) -> Float[Array, "*batch"]:
        return self.loss(logits, labels) * jnp.asarray(self.weights, jnp.float32)[labels]


def weighted(weights: tuple[float, ...]) -> Objective:
    """`ACCURACY` with the loss of class k weighted by ``weights[k]``; the metric is as before.

    Equal for equal weights, and so compiled once.
    """
    return ACCURACY._replace(loss=Weighted(weights))


OBJECTIVES = {objective.metric_name: objective for objective in (ACCURACY, MSE, PERPLEXITY)}
