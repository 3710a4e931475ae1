"""Problems built from problems: the average over a sequence, and damping.

Both exist for energies and for residuals. An average of energies is an energy again, whose gradient
sums over time before it multiplies by W: one product, not T.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .._checks import check_counts, is_more, number
from .._numerics import in_chunks
from .._types import Energy, Hidden, LowerProblem, ResidualProblem, ScalarArray
from .._varying import vary, varying_axes
from .energies import smoothness_of
from .step import per_sample

Problem: TypeAlias = LowerProblem | ResidualProblem
StepWeights: TypeAlias = Float[Array, "time *batch"]


def averaged(problem: Problem, chunk: int | None = None) -> Problem:
    """``(1/T) sum_t F(h, u_t; theta, h_prev)``: the whole sequence as one problem.

    Its drive is the pair (drives `[T, *batch, hidden]`, or a dict or a NamedTuple of them, weights
    `[T, *batch]`); a step of weight 0 is left out, as by a mask.

    Args:
      problem: an energy or a residual.
      chunk: steps evaluated at once, and recomputed in the backward pass. The default, all T, is
        fastest and stores a few arrays of the size of the drives.
    """
    if chunk is not None:
        check_counts(chunk=chunk)
    kind = _AveragedResidual if isinstance(problem, ResidualProblem) else _AveragedEnergy
    return kind(problem, chunk)


def damped(problem: Problem, damping: float) -> Problem:
    """``F + damping/2 ||h||^2``: shifts every eigenvalue of the Hessian up by `damping`.

    With enough damping a unique stationary point exists and conjugate gradients converge; damping
    also pulls that point towards 0.

    Raises:
      ValueError: a damping that is negative, not finite or traced.
    """
    check_damping(damping)
    kind = _DampedResidual if isinstance(problem, ResidualProblem) else _DampedEnergy
    return kind(problem, float(damping))


def proximal(energy: LowerProblem) -> LowerProblem:
    """``F + 1/2 ||h - h_prev||^2``: a step that stays near the state before it, when solved.

    Its solution is the implicit step of gradient descent on F, of size 1.
    """
    return _Proximal(energy)


def ravelled(energy: Callable[[Any, Any, Any, Any], Energy], sample: Any) -> "Ravelled":
    """An energy of trees of arrays, such as a small network, as one of vectors `[*batch, hidden]`.

    Keep the result: for another one, JAX compiles anew.

    Args:
      energy: ``F(h, u; theta, h_prev)`` of trees whose arrays have the batch axes in front.
      sample: the tree of one sample, without batch axes; its shapes and types alone count.
    """
    zeros = jax.tree.map(lambda leaf: jnp.zeros(jnp.shape(leaf), leaf.dtype), sample)
    return Ravelled(energy, ravel_pytree(zeros)[1])


def check_damping(damping: float) -> None:
    """ValueError unless damping is a constant, finite and >= 0."""
    if isinstance(damping, jax.core.Tracer):
        raise ValueError("expected damping as a constant, got a traced number; pass a float")
    if not 0 <= number(damping) < math.inf:
        raise ValueError(f"expected a finite damping >= 0, got {damping}; try 0.1")


@dataclass(frozen=True)
class _Energy:
    """An energy built from another; passes on what that one states about itself."""

    problem: Any

    @property
    def is_convex(self) -> bool:
        return getattr(self.problem, "is_convex", True)

    @property
    def uses_h_prev(self) -> bool:
        return getattr(self.problem, "uses_h_prev", False)


@dataclass(frozen=True)
class _AveragedEnergy(_Energy):
    chunk: int | None

    def __call__(self, h: Hidden, u: Any, theta: Any, h_prev: Hidden) -> Energy:
        us, weights = u
        return _mean(lambda u: self.problem(h, u, theta, h_prev), us, weights, self.chunk)

    def smoothness(self, theta: Any) -> ScalarArray:
        """The bound of each step also bounds their mean."""
        return smoothness_of(self.problem, theta)


@dataclass(frozen=True)
class _AveragedResidual:
    problem: Any
    chunk: int | None

    def residual(self, h: Hidden, u: Any, theta: Any, h_prev: Hidden) -> Hidden:
        us, weights = u
        return _mean(lambda u: self.problem.residual(h, u, theta, h_prev), us, weights, self.chunk)


@dataclass(frozen=True)
class _DampedEnergy(_Energy):
    damping: float

    def __call__(self, h: Hidden, u: Any, theta: Any, h_prev: Hidden) -> Energy:
        energy = self.problem(h, u, theta, h_prev)
        return energy + 0.5 * self.damping * jnp.sum(h * h, axis=-1)

    def smoothness(self, theta: Any) -> ScalarArray:
        """``L + damping``."""
        return smoothness_of(self.problem, theta) + self.damping


@dataclass(frozen=True)
class _Proximal(_Energy):
    uses_h_prev: ClassVar[bool] = True

    def __call__(self, h: Hidden, u: Any, theta: Any, h_prev: Hidden) -> Energy:
        change = h - h_prev
        return self.problem(h, u, theta, h_prev) + 0.5 * jnp.sum(change * change, axis=-1)

    def smoothness(self, theta: Any) -> ScalarArray:
        """``L + 1``."""
        return smoothness_of(self.problem, theta) + 1


@dataclass(frozen=True)
class Ravelled(_Energy):
    """What `ravelled` makes of an energy; `ravel` makes vectors of trees, `unravel` trees again.

    Attributes:
      unravel: the tree of one vector, without batch axes.
    """

    unravel: Callable[[Array], Any]

    def __call__(self, h: Hidden, u: Any, theta: Any, h_prev: Hidden) -> Energy:
        h, h_prev = (per_sample(self.unravel, h.ndim - 1)(state) for state in (h, h_prev))
        return self.problem(h, u, theta, h_prev)

    @staticmethod
    def ravel(tree: Any, batch_axes: int = 1) -> Hidden:
        """The vectors of a tree whose arrays have so many batch axes in front."""
        return per_sample(lambda sample: ravel_pytree(sample)[0], batch_axes)(tree)


@dataclass(frozen=True)
class _DampedResidual:
    problem: Any
    damping: float

    def residual(self, h: Hidden, u: Any, theta: Any, h_prev: Hidden) -> Hidden:
        return self.problem.residual(h, u, theta, h_prev) + self.damping * h


def _mean(term: Callable[[Any], Array], us: Any, weights: StepWeights, chunk: int | None) -> Array:
    """``sum_t weights_t term(u_t) / sum_t weights_t``; 0 where all weights are 0."""

    def total(us: Any, weights: Any) -> Array:
        read = jax.tree.map(partial(_where_weighted, weights), us)
        terms = jax.vmap(term)(read)
        return jnp.sum(jnp.expand_dims(weights, range(weights.ndim, terms.ndim)) * terms, 0)

    if chunk is None or not is_more(weights.shape[0], chunk):
        weighted_sum = total(us, weights)
    else:
        weighted_sum = _sum_chunks(jax.checkpoint(total), us, weights, chunk)
    norm = jnp.sum(weights, axis=0)
    norm = jnp.where(norm > 0, norm, 1)
    return weighted_sum / norm.reshape(norm.shape + (1,) * (weighted_sum.ndim - norm.ndim))


def _where_weighted(weights: StepWeights, us: Array) -> Array:
    """The drives, 0 for steps of weight 0: what stands there may be NaN, and 0 x NaN is NaN."""
    # The last batch axes may be those of states that share a drive, as the rows of a memory do.
    counts = jnp.any(weights != 0, axis=tuple(range(us.ndim, weights.ndim)))
    return jnp.where(jnp.expand_dims(counts, range(counts.ndim, us.ndim)), us, 0)


def _sum_chunks(
    total: Callable[[Any, Any], Array], us: Any, weights: StepWeights, chunk: int
) -> Array:
    """Sum chunk by chunk; steps of weight 0 fill up the last."""
    chunks = jax.tree.map(lambda xs: in_chunks(xs, chunk), (us, weights))
    like = jax.eval_shape(total, *jax.tree.map(lambda x: x[0], chunks))
    zero = vary(jnp.zeros_like(like), varying_axes((us, weights)))
    return jax.lax.scan(lambda acc, c: (acc + total(*c), None), zero, chunks)[0]
