"""Labels that are smoothed where parameters are trained, and nowhere else."""

from dataclasses import dataclass, replace

import jax
import optax
from jaxtyping import Array, Float, Int

from .._types import AnyArray
from ..tasks._types import Batch
from .method import GraphDef, Method, TrainState, UpperInfo
from .objectives import Objective, Weighted


@dataclass(frozen=True)
class SmoothedCrossEntropy:
    """``-sum_k q_k log softmax(logits)_k``, ``q = (1 - amount) onehot(label) + amount / K``.

    In nats. Source: Szegedy et al. 2016, section 7.

    Args:
      amount: in [0, 1]; ValueError for others.
    """

    amount: float

    def __post_init__(self) -> None:
        if not 0 <= self.amount <= 1:
            raise ValueError(f"expected 0 <= amount <= 1, got {self.amount:g}; try 0.1")

    def __call__(
        self, logits: Float[Array, "*batch classes"], labels: Int[AnyArray, "*batch"]
    ) -> Float[Array, "*batch"]:
        certain = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
        return optax.softmax_cross_entropy(logits, optax.smooth_labels(certain, self.amount))


def smoothed(objective: Objective, amount: float) -> Objective:
    """A cross-entropy with smoothed labels; each class weighs what it did in `objective`."""
    loss = SmoothedCrossEntropy(amount)
    if isinstance(objective.loss, Weighted):
        return objective._replace(loss=replace(objective.loss, loss=loss))
    return objective._replace(loss=loss)


def with_smooth_labels(method: Method, amount: float) -> Method:
    """`method` on the `smoothed` objective; evaluations do not see it."""

    def step(
        objective: Objective,
        graphdef: GraphDef,
        state: TrainState,
        batch: Batch,
        *,
        axis_name: str | None = None,
    ) -> tuple[TrainState, UpperInfo]:
        smooth = smoothed(objective, amount)
        return method.step(smooth, graphdef, state, batch, axis_name=axis_name)

    return method._replace(step=step)
