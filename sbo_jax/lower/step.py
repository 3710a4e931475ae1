"""One time step: reading an input is one step of an optax optimiser on an energy over h.

Nothing here knows which optimiser or which energy.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .._checks import as_numbers, check_counts
from .._types import (
    Energy,
    Hidden,
    LowerCarry,
    LowerProblem,
    LowerSolver,
    ResidualProblem,
    ScalarArray,
)
from .._varying import as_varying, varying_axes


def init_carry(solver: LowerSolver, h0: Hidden) -> LowerCarry:
    """The carry before the first input: h_0 and a fresh solver state for every sample."""
    if not isinstance(solver, optax.GradientTransformation):
        raise ValueError(f"expected an optax transformation like sgd(1e-3), got {solver!r}")
    try:
        return LowerCarry(h0, per_sample(solver.init, h0.ndim - 1)(h0))
    except AttributeError as error:  # optax.lookahead starts from a pair of parameters
        raise ValueError(
            f"expected a solver whose state starts from h alone, like sgd, heavy_ball and "
            f"nesterov, got one that asks for more ({error})"
        ) from error


def as_carry(solver: LowerSolver, h0: Any) -> LowerCarry:
    """`h0` itself if it is a carry of this solver already, else a fresh carry at the state `h0`.

    Raises:
      ValueError: a carry of another solver, or no array of real numbers.
    """
    if not isinstance(h0, LowerCarry):
        return init_carry(solver, as_state(h0))
    fresh = jax.eval_shape(partial(init_carry, solver), as_state(h0.h))
    if kinds(fresh) != kinds(h0):
        raise ValueError(
            f"expected a carry of this solver, {kinds(fresh)}, got {kinds(h0)!s:.200}; try "
            f"init_carry, or initialize_carry of the layer"
        )
    return h0


def as_state(h0: Any) -> Hidden:
    """An array of floating-point numbers; ValueError for anything else."""
    h0 = jnp.asarray(as_numbers("h0", h0))
    if not jnp.issubdtype(h0.dtype, jnp.floating):
        raise ValueError(f"expected h0 of floating-point numbers, got {h0.dtype}; try 1.0 * h0")
    return h0


def kinds(carry: Any) -> Any:
    """The carry with the type and shape of every array in its place."""

    def kind(leaf: Any) -> str:
        known = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
        return f"{jax.dtypes.canonicalize_dtype(known.dtype, True)}{[*known.shape]}"

    return jax.tree.map(kind, carry)


def lower_gradient(
    problem: LowerProblem | ResidualProblem, h: Hidden, u: Any, theta: Any, h_prev: Hidden
) -> Hidden:
    """``grad_h F(h, u; theta, h_prev)`` of every sample: the gradient of the batch sum.

    A problem that is not an energy states its residual, which takes the gradient's place.
    """
    h, u, theta, h_prev = as_varying(h, u, theta, h_prev)
    if isinstance(problem, ResidualProblem):
        return problem.residual(h, u, theta, h_prev)

    def total(h: Hidden) -> ScalarArray:
        energy = problem(h, u, theta, h_prev)
        _check_per_sample(energy, h)
        _check_varying(energy, h)
        return jnp.sum(energy)

    return jax.grad(total)(h)


def lower_step(
    problem: LowerProblem | ResidualProblem,
    solver: LowerSolver,
    carry: LowerCarry,
    u: Any,
    theta: Any,
    *,
    inner_steps: int = 1,
) -> LowerCarry:
    """`inner_steps` steps of `solver` on ``F(., u; theta, carry.h)``, from ``carry.h``.

    The solver is vmapped over the batch: a global norm, a step count or any other state belongs to
    one sample, and samples never influence one another.
    """
    if not isinstance(carry, LowerCarry):
        raise ValueError(f"expected a LowerCarry, as init_carry makes it, got {carry!r:.60}")
    check_counts(inner_steps=inner_steps)
    u = as_numbers("drive", u) if isinstance(u, list | np.ndarray) else u
    try:
        return _step(problem, solver, carry, u, theta, inner_steps)
    except Exception:
        # Checked only now: whoever reads in a loop has checked already.
        check_energy(problem, as_carry(solver, carry).h, u, theta, carry.h)
        raise


def _step(
    problem: LowerProblem | ResidualProblem,
    solver: LowerSolver,
    carry: LowerCarry,
    u: Any,
    theta: Any,
    inner_steps: int,
) -> LowerCarry:
    carry, u, theta = as_varying(carry, u, theta)
    update = per_sample(solver.update, carry.h.ndim - 1)

    def descend(_: Any, inner: LowerCarry) -> LowerCarry:
        gradient = lower_gradient(problem, inner.h, u, theta, carry.h)
        with _needing_the_gradient_alone():
            updates, solver_state = update(gradient, inner.solver_state, inner.h)
        h = optax.apply_updates(inner.h, updates)
        if h.shape != inner.h.shape:
            raise ValueError(
                f"expected an update that keeps the shape {inner.h.shape} of h, got {h.shape}; eta "
                f"and mu are one number or one for every hidden unit, the same for all samples"
            )
        return LowerCarry(h, solver_state)

    if inner_steps == 1:  # a loop around a single step would hide it from the fusions of the scan
        return descend(None, carry)
    return jax.lax.fori_loop(0, inner_steps, descend, carry)


@contextmanager
def _needing_the_gradient_alone() -> Iterator[None]:
    """ValueError for a solver that asks for the energy's value as well, or for the energy."""
    try:
        yield
    except (TypeError, AttributeError) as error:
        if isinstance(error, TypeError) and "required keyword-only argument" not in str(error):
            raise
        raise ValueError(
            f"expected a solver that needs the gradient alone, like sgd, heavy_ball, nesterov or "
            f"optax.adam, got one that asks for more ({error})"
        ) from error


def _check_per_sample(energy: Energy, h: Hidden) -> None:
    """ValueError where the gradient in h would be summed over samples, as of drives broadcast."""
    if jnp.shape(energy) != h.shape[:-1]:
        raise ValueError(
            f"expected an energy of shape {h.shape[:-1]} for h of shape {h.shape}, got "
            f"{jnp.shape(energy)}"
        )


def _check_varying(energy: Energy, h: Hidden) -> None:
    """ValueError where the gradient in h would be summed over devices."""
    more = varying_axes(energy) - varying_axes(h)
    if more:
        raise ValueError(
            f"expected an energy that closes over nothing that varies over {sorted(more)}, the "
            f"axes of jax.shard_map; pass such data as u or theta"
        )


def check_energy(
    problem: LowerProblem | ResidualProblem, h: Hidden, u: Any, theta: Any, h_prev: Hidden
) -> None:
    """ValueError unless an energy has one value per sample, a residual the shape of h."""
    if isinstance(problem, ResidualProblem):
        kind, evaluate, expected = "a residual", problem.residual, h.shape
    else:
        kind, evaluate, expected = "an energy", problem, h.shape[:-1]
    try:
        found = jax.eval_shape(evaluate, *jax.tree.map(_as_held, (h, u, theta, h_prev)))
    except Exception as error:  # of the problem's own code, whatever it is given
        raise ValueError(
            f"expected parameters that fit h of shape {h.shape}, got {theta!r:.200} and {error}"
        ) from error
    shape, dtype = getattr(found, "shape", None), getattr(found, "dtype", object)
    if shape != expected:
        raise ValueError(
            f"expected {kind} of shape {expected} for h of shape {h.shape}, got {shape} from "
            f"{problem}; an energy sums over the last axis and no other"
        )
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"expected {kind} of floating-point numbers, got {dtype} from {problem}; try real "
            f"drives and parameters"
        )


def _as_held(leaf: Any) -> Any:
    """The shape of an array of NumPy, or any shape, in the type that JAX holds it in."""
    if not isinstance(leaf, np.ndarray | jax.ShapeDtypeStruct):
        return leaf
    return jax.ShapeDtypeStruct(leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype))


def per_sample(fn: Callable, num_batch_axes: int) -> Callable:
    """`fn` of one sample, for arrays with so many batch axes in front."""
    for _ in range(num_batch_axes):
        fn = jax.vmap(fn)
    return fn


def check_state_per_unit(carry: LowerCarry) -> None:
    """ValueError unless every array of the solver state has the shape and dtype of h."""
    for leaf in jax.tree.leaves(carry):
        if leaf.shape != carry.h.shape or leaf.dtype != carry.h.dtype:
            raise ValueError(
                f"expected a solver whose state has one number per unit, like sgd, heavy_ball and "
                f"nesterov, got an array of shape {leaf.shape} and type {leaf.dtype} beside h "
                f"of shape {carry.h.shape}; use unroll"
            )
