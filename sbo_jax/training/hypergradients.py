"""Gradients of a validation loss in hyper-parameters: the bilevel problem one level up.

    min over lam  V(w*(lam), lam)   where   w*(lam) = argmin over w of L(w, lam)

The parameters w are to lam what hidden states are to w, and the same two ways lead through the
lower problem: `unrolled` differentiates through K of its optimiser's steps, `implicit` at its
stationary point, by the implicit function theorem. With K = 1 the first is the online form, which
looks one step ahead from wherever training is. ``lam`` is any pytree of floats; keep it in
coordinates that have no bounds (log eta, logit mu) and move it with an optax optimiser of its own.

Sources: Franceschi et al. 2018; Mounsaveng et al. 2021, for K = 1; Lorraine et al. 2020, for
Neumann's series.
"""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import optax

from .._types import ScalarArray

Hyper: TypeAlias = Any
Params: TypeAlias = Any
State = TypeVar("State")
Matvec: TypeAlias = Callable[[Params], Params]
LinearSolve: TypeAlias = Callable[[Matvec, Params], Params]


def unrolled(
    step: Callable[[State, Hyper, Any], State],
    validation_loss: Callable[[State, Hyper], ScalarArray],
    hyper: Hyper,
    state: State,
    batches: Any,
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
      Validation loss, state after the window, gradient of the form of `hyper`.
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
    solve: LinearSolve,
) -> tuple[ScalarArray, Hyper]:
    """``V(w, lam)`` and ``dV/dlam - (d2L/dw dlam)' (d2L/dw2)^-1 dV/dw`` at ``w = params``.

    The gradient of ``V(w*(lam), lam)`` where w minimises L; elsewhere an approximation that nothing
    here measures. It sees no step size: eta of the upper level has no gradient of this kind.

    Args:
      training_loss: L(w, lam), twice differentiable.
      validation_loss: V(w, lam).
      hyper: lam.
      params: w.
      solve: ``solve(matvec, b)``, as made by `conjugate_gradients` or `neumann`.
    """
    value, (pull, direct) = jax.value_and_grad(validation_loss, argnums=(0, 1))(params, hyper)

    def slope(params: Params, hyper: Hyper) -> Params:
        return jax.grad(training_loss)(params, hyper)

    def curvature(v: Params) -> Params:
        return jax.jvp(lambda params: slope(params, hyper), (params,), (v,))[1]

    adjoint = solve(curvature, pull)
    _, pull_back = jax.vjp(lambda hyper: slope(params, hyper), hyper)
    (indirect,) = pull_back(adjoint)
    return value, jax.tree.map(jnp.subtract, direct, indirect)


def conjugate_gradients(num_steps: int, *, damping: float = 0.0) -> LinearSolve:
    """``(H + damping I) x = b`` by at most `num_steps` of CG; H + damping I positive definite."""
    _check(num_steps)
    if damping < 0:
        raise ValueError(f"expected damping >= 0, got {damping:g}; try 0.1")

    def solve(matvec: Matvec, b: Params) -> Params:
        def damped(v: Params) -> Params:
            return jax.tree.map(lambda hv, v: hv + damping * v, matvec(v), v)

        return jax.scipy.sparse.linalg.cg(damped, b, maxiter=num_steps, tol=0.0, atol=0.0)[0]

    return solve


def neumann(num_steps: int, rate: float) -> LinearSolve:
    """``x = rate sum_{k < num_steps} (I - rate H)^k b``, which tends to ``H^-1 b``.

    For 0 < rate < 2 / (largest eigenvalue of H), and H positive definite: `num_steps` steps of
    gradient descent, cut short, and so a bound on how far x can go.
    """
    _check(num_steps)
    if not rate > 0:
        raise ValueError(f"expected rate > 0, got {rate:g}; try the upper level's step size")

    def solve(matvec: Matvec, b: Params) -> Params:
        def body(x: Params, _: None) -> tuple[Params, None]:
            residual = jax.tree.map(jnp.subtract, b, matvec(x))
            return jax.tree.map(lambda x, r: x + rate * r, x, residual), None

        zeros = optax.tree.zeros_like(b)
        return jax.lax.scan(body, zeros, None, length=num_steps)[0]

    return solve


def _check(num_steps: int) -> None:
    if num_steps < 1:
        raise ValueError(f"expected num_steps >= 1, got {num_steps}; try 20")
