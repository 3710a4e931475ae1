"""Gradients of a validation loss in hyper-parameters: the bilevel problem one level up.

    min over lam  V(w*(lam), lam)   where   w*(lam) = argmin over w of L(w, lam)

The parameters w are to lam what hidden states are to w, and the same two ways lead through the
lower problem: `unrolled` differentiates through K of its optimiser's steps, `implicit` at its
stationary point, by the very implicit function theorem of `rollouts.implicit`. With K = 1 the first
is the online form, which looks one step ahead from wherever training is. ``lam`` is any pytree of
floats; keep it in coordinates that have no bounds (log eta, logit mu) and move it with an optax
optimiser of its own.

Sources: Franceschi et al. 2018; Mounsaveng et al. 2021, for K = 1; Lorraine et al. 2020, for the
implicit form.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import jax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .._types import ScalarArray
from ..linear_solvers import CG, LinearSolver
from ..lower.composed import damped
from ..rollouts.implicit import ProblemData, differentiate_at

Hyper = TypeVar("Hyper")
State = TypeVar("State")
Params = TypeVar("Params")
Batch = TypeVar("Batch")
Weights: TypeAlias = Float[Array, " weights"]

_CG = CG()


@dataclass(frozen=True)
class _Stationary:
    """``grad_w L = 0`` as a lower-level problem: the parameters are its h, lam is its theta.

    A residual and no energy, whose Hessian is taken forward over reverse: layers with derivative
    rules of their own, as implicit rollouts, know no forward mode.
    """

    loss: Callable[[Weights, Any], ScalarArray]

    def residual(self, h: Weights, u: object, theta: Any, h_prev: object) -> Weights:
        return jax.grad(self.loss)(h, theta)


def unrolled(
    step: Callable[[State, Hyper, Batch], State],
    validation_loss: Callable[[State, Hyper], ScalarArray],
    hyper: Hyper,
    state: State,
    batches: Batch,
) -> tuple[ScalarArray, State, Hyper]:
    """``V(s_K, lam)`` and its gradient in lam, with ``s_{k+1} = step(s_k, lam, batch_k)``.

    Exact for a window of K steps, blind to what lies before it. Memory grows with K times the size
    of the state; each step is recomputed in the backward pass.

    Args:
      step: one upper-level step, say an optax update; differentiable.
      validation_loss: of the state after the window.
      hyper: lam.
      state: parameters and the optimiser's state, where the window begins.
      batches: arrays with a leading axis K >= 1.

    Returns:
      Validation loss, state after the window, gradient in the structure of `hyper`.
    """

    def outcome(hyper: Hyper) -> tuple[ScalarArray, State]:
        body = jax.checkpoint(lambda state, batch: (step(state, hyper, batch), None))
        last, _ = jax.lax.scan(body, state, batches)
        return validation_loss(last, hyper), last

    (value, last), gradient = jax.value_and_grad(outcome, has_aux=True)(hyper)
    return value, last, gradient


def implicit(
    training_loss: Callable[[Params, Hyper], ScalarArray],
    validation_loss: Callable[[Params, Hyper], ScalarArray],
    hyper: Hyper,
    params: Params,
    linear_solver: LinearSolver = _CG,
    *,
    damping: float = 0.0,
) -> tuple[ScalarArray, Hyper]:
    """``V(w, lam)`` and ``dV/dlam - (d2L/dw dlam)' (d2L/dw2)^-1 dV/dw`` at ``w = params``.

    The gradient of ``V(w*(lam), lam)`` where w minimises L; elsewhere an approximation that nothing
    here measures. It sees no step size: eta of the upper level has no gradient of this kind.

    Args:
      training_loss: L(w, lam), twice differentiable.
      validation_loss: V(w, lam).
      hyper: lam.
      params: w.
      linear_solver: for the Hessian of L, as one matrix over all parameters.
      damping: >= 0, added to that Hessian.
    """
    weights, unravel = ravel_pytree(params)
    stationary = _Stationary(lambda h, hyper: training_loss(unravel(h), hyper))

    def outcome(hyper: Hyper) -> ScalarArray:
        problem, data = damped(stationary, damping), ProblemData(None, hyper, weights)
        solution, _ = differentiate_at(problem, weights, data, linear_solver)
        return validation_loss(unravel(solution), hyper)

    return jax.value_and_grad(outcome)(hyper)
