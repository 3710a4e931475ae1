"""The rollout: reading a sequence is optimising h, one lower-level step per input.

An RNN step is one step of an optax optimiser on an energy. Nothing here knows which optimiser or
which energy; `unroll` differentiates through the steps, in reverse or forward mode.
"""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ._types import (
    DriveSequence,
    Hidden,
    HiddenSequence,
    LowerCarry,
    LowerProblem,
    LowerSolver,
    MaskSequence,
    ResidualProblem,
)

Inputs = TypeVar("Inputs")
MakeDrives: TypeAlias = Callable[[Any], DriveSequence]


def init_carry(solver: LowerSolver, h0: Hidden) -> LowerCarry:
    """The carry before the first input: h_0 and a fresh solver state for every sample."""
    return LowerCarry(h0, _per_sample(solver.init, h0.ndim - 1)(h0))


def as_carry(solver: LowerSolver, h0: Hidden | LowerCarry) -> LowerCarry:
    """`h0` itself if it is a rollout's carry, else the carry that starts there."""
    return h0 if isinstance(h0, LowerCarry) else init_carry(solver, h0)


def lower_gradient(
    problem: LowerProblem | ResidualProblem, h: Hidden, u: Any, theta: Any, h_prev: Hidden
) -> Hidden:
    """``grad_h F(h, u; theta, h_prev)`` of every sample: the gradient of the batch sum.

    A problem that is no energy states its residual, which takes the gradient's place.
    """
    if isinstance(problem, ResidualProblem):
        return problem.residual(h, u, theta, h_prev)
    return jax.grad(lambda h: jnp.sum(problem(h, u, theta, h_prev)))(h)


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
    update = _per_sample(solver.update, carry.h.ndim - 1)

    def descend(_: Any, inner: LowerCarry) -> LowerCarry:
        gradient = lower_gradient(problem, inner.h, u, theta, carry.h)
        updates, solver_state = update(gradient, inner.solver_state, inner.h)
        return LowerCarry(optax.apply_updates(inner.h, updates), solver_state)

    if inner_steps == 1:  # a loop around a single step would hide it from the fusions of the scan
        return descend(None, carry)
    return jax.lax.fori_loop(0, inner_steps, descend, carry)


def unroll(
    problem: LowerProblem | ResidualProblem,
    solver: LowerSolver,
    h0: Hidden | LowerCarry,
    us: Any,
    theta: Any,
    *,
    mask: MaskSequence | None = None,
    drive: MakeDrives | None = None,
    inner_steps: int = 1,
    scan_unroll: int = 1,
    remat_chunk: int | None = None,
) -> tuple[LowerCarry, HiddenSequence]:
    """``h_t = step(h_{t-1}, u_t)`` for t = 1..T by `jax.lax.scan`; returns the carry and all h_t.

    Args:
      problem: the lower-level energy.
      solver: any optax transformation; `solvers` has the paper's.
      h0: the state before the first input, `[*batch, hidden]`, or a rollout's carry.
      us: the drives x_t V + b, time-major.
      theta: the parameters of `problem`, for `Residual` an operator.
      mask: where False, a step leaves h and the solver state untouched. Keep NaN out of the drives
        there: the value ignores them, the gradient does not (0 x NaN).
      drive: makes the drives of any number of steps; `us` are then the inputs it makes them of.
      inner_steps: lower-level steps per input (the paper: 1).
      scan_unroll: steps per iteration of the compiled loop; on CPU 1 was fastest at every size.
      remat_chunk: recompute the forward pass, `drive` included, in chunks of this many steps during
        the backward pass; memory falls from T states to T / chunk + chunk, for one more forward
        pass.

    Raises:
      ValueError: shapes that broadcasting would hide, or a count below 1.
    """
    carry = as_carry(solver, h0)
    drives = us if drive is None else jax.eval_shape(drive, us)
    check_rollout(problem, carry.h, drives, theta, mask)
    check_counts(inner_steps=inner_steps, scan_unroll=scan_unroll)
    if remat_chunk is not None:
        check_counts(remat_chunk=remat_chunk)

    def step(carry: LowerCarry, inputs: Any) -> tuple[LowerCarry, Hidden]:
        u, valid = inputs
        new = lower_step(problem, solver, carry, u, theta, inner_steps=inner_steps)
        new = where_valid(valid, new, carry)
        return new, new.h

    def scan(carry: LowerCarry, inputs: Any) -> tuple[LowerCarry, HiddenSequence]:
        us, mask = inputs
        us = us if drive is None else drive(us)
        return jax.lax.scan(step, carry, (us, mask), unroll=scan_unroll)

    if remat_chunk is None or remat_chunk >= len(us):
        return scan(carry, (us, mask))
    return _scan_rematerialised(scan, carry, (us, mask), remat_chunk)


def check_energy(
    problem: LowerProblem | ResidualProblem, h: Hidden, u: Any, theta: Any, h_prev: Hidden
) -> None:
    """ValueError unless an energy has one value per sample, a residual the shape of h."""
    if isinstance(problem, ResidualProblem):
        kind, evaluate, expected = "a residual", problem.residual, h.shape
    else:
        kind, evaluate, expected = "an energy", problem, h.shape[:-1]
    try:
        shape = getattr(jax.eval_shape(evaluate, h, u, theta, h_prev), "shape", None)
    except TypeError as error:
        raise ValueError(
            f"expected parameters that fit h of shape {h.shape}, got "
            f"{jax.tree.map(jnp.shape, theta)} and {error}"
        ) from error
    if shape != expected:
        raise ValueError(
            f"expected {kind} of shape {expected} for h of shape {h.shape}, got {shape} from "
            f"{problem}; an energy sums over the last axis and no other"
        )


def _per_sample(fn: Callable, num_batch_axes: int) -> Callable:
    for _ in range(num_batch_axes):
        fn = jax.vmap(fn)
    return fn


def where_valid(valid: jax.Array | None, new: LowerCarry, old: LowerCarry) -> LowerCarry:
    """The new carry where a step is valid, the old one where it is masked."""
    if valid is None:
        return new

    def select(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(jnp.expand_dims(valid, range(valid.ndim, new.ndim)), new, old)

    return jax.tree.map(select, new, old)


def _scan_rematerialised(
    scan: Callable[[LowerCarry, Inputs], tuple[LowerCarry, HiddenSequence]],
    carry: LowerCarry,
    inputs: Inputs,
    chunk: int,
) -> tuple[LowerCarry, HiddenSequence]:
    """Scan whole chunks, each behind `jax.checkpoint`, then the remainder."""
    num_chunks = len(jax.tree.leaves(inputs)[0]) // chunk
    whole = num_chunks * chunk
    chunks = jax.tree.map(lambda x: x[:whole].reshape(num_chunks, chunk, *x.shape[1:]), inputs)
    rest = jax.tree.map(lambda x: x[whole:], inputs)
    carry, hs = jax.lax.scan(jax.checkpoint(scan), carry, chunks)
    carry, hs_rest = scan(carry, rest)
    return carry, jnp.concatenate([hs.reshape(whole, *hs.shape[2:]), hs_rest])


def check_rollout(
    problem: LowerProblem | ResidualProblem,
    h0: jax.Array,
    us: jax.Array | jax.ShapeDtypeStruct,
    theta: Any,
    mask: jax.Array | None,
) -> None:
    """ValueError for shapes that broadcasting would hide, or a problem of the wrong shape."""
    if us.shape[1:] != h0.shape:
        raise ValueError(
            f"expected drives of shape [time, *batch, hidden] with [*batch, hidden] = {h0.shape}, "
            f"the shape of h0, got {us.shape}; drives are x_t V + b, time-major"
        )
    if mask is not None and mask.shape != us.shape[:-1]:
        raise ValueError(
            f"expected a mask of shape [time, *batch] = {us.shape[:-1]}, got {mask.shape}"
        )
    if mask is not None and mask.dtype != bool:
        raise ValueError(f"expected a mask of bool, got {mask.dtype}; try mask > 0")
    check_energy(problem, h0, jax.ShapeDtypeStruct(h0.shape, us.dtype), theta, h0)


def check_state_per_unit(carry: LowerCarry) -> None:
    """ValueError unless the solver keeps numbers of the shape and type of h, as SGD does."""
    for leaf in jax.tree.leaves(carry):
        if leaf.shape != carry.h.shape or leaf.dtype != carry.h.dtype:
            raise ValueError(
                f"expected a solver whose state has one number per unit, as sgd, heavy_ball and "
                f"nesterov have, got a part of shape {leaf.shape} and type {leaf.dtype} beside h "
                f"of shape {carry.h.shape}; use unroll"
            )


def check_counts(**counts: int) -> None:
    """ValueError unless every count is at least 1."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise ValueError(f"expected {name} as a whole number >= 1, got {count}")
