"""`unroll` by kernels, of whatever hardware: `lower_step` is traced into them.

So any energy is read, and any solver whose state is one number per unit.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from ..._checks import as_numbers
from ..._types import (
    HiddenSequence,
    LowerCarry,
    LowerProblem,
    LowerSolver,
    MaskSequence,
    ResidualProblem,
)
from ..._varying import varying_axes
from ...lower.step import as_carry, check_state_per_unit, lower_step
from ..reading import check_known_sizes, check_rollout, where_valid
from ..unrolled import unroll
from .blocks import BatchBlocks, Grid, Step


@runtime_checkable
class Kernels(Protocol):
    """The two kernels of a step: all carries forward, and all gradients backward."""

    def carries(self, first: BatchBlocks, inputs: BatchBlocks, parameters: Any) -> BatchBlocks:
        """The carries after every step."""
        ...

    def gradients(
        self,
        first: BatchBlocks,
        inputs: BatchBlocks,
        parameters: Any,
        after: BatchBlocks,
        cotangents: BatchBlocks,
    ) -> tuple[BatchBlocks, BatchBlocks, Any]:
        """Those in the first carry, the inputs and the parameters, given the carries after."""
        ...


def unroll_by_kernels(
    problem: LowerProblem | ResidualProblem,
    solver: LowerSolver,
    h0: Any,
    us: Any,
    theta: Any,
    mask: MaskSequence | None,
    *,
    rows_of: Callable[[int], int],
    kernels_of: Callable[[Step, BatchBlocks, BatchBlocks, Any], Kernels],
    mask_columns: int = 1,
) -> tuple[LowerCarry, HiddenSequence]:
    """`unroll` in blocks of ``rows_of(samples)`` samples, by the kernels of a step.

    ``kernels_of(step, first carry, inputs, parameters)`` raises ValueError for sizes that they
    cannot hold. A mask comes to them in so many equal columns.
    """
    us = jnp.asarray(as_numbers("drives", us))
    mask = None if mask is None else jnp.asarray(as_numbers("mask", mask))
    carry = as_carry(solver, h0)
    check_rollout(problem, carry.h, us, theta, mask)
    _check_unchecked(carry, us, theta, mask)
    check_known_sizes("known sizes for a kernel", us.shape)
    check_state_per_unit(carry)
    if us.size == 0:
        return unroll(problem, solver, carry, us, theta, mask=mask)

    def step(carry: LowerCarry, inputs: Any, theta: Any) -> LowerCarry:
        u, valid = inputs
        new = lower_step(problem, solver, carry, u, theta)
        return where_valid(None if valid is None else valid > 0, new, carry)

    grid = Grid(us.shape[1:-1], rows_of(us[0, ..., 0].size))
    first = jax.tree.map(lambda leaf: grid.split(leaf[None]), carry)
    mask = None if mask is None else _as_columns(mask, mask_columns, us.dtype)
    inputs = jax.tree.map(grid.split, (us, mask))
    pure_step, parameters = _with_closure_as_parameters(step, first, inputs, theta)
    kernels = kernels_of(pure_step, first, inputs, parameters)
    after = _roll(kernels, first, inputs, parameters)
    after = jax.tree.map(grid.join, after)
    return jax.tree.map(lambda leaf: leaf[-1], after), after.h


def _as_columns(mask: jax.Array, columns: int, dtype: Any) -> jax.Array:
    """Numbers beside every row of a block: kernels load no booleans, TPUs no vectors of rows."""
    return jnp.broadcast_to(mask.astype(dtype)[..., None], (*mask.shape, columns))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _roll(
    kernels: Kernels, first: BatchBlocks, inputs: BatchBlocks, parameters: Any
) -> BatchBlocks:
    """The carries after every step."""
    return kernels.carries(first, inputs, parameters)


def _forward(
    kernels: Kernels, first: BatchBlocks, inputs: BatchBlocks, parameters: Any
) -> tuple[BatchBlocks, Any]:
    after = kernels.carries(first, inputs, parameters)
    return after, (first, inputs, parameters, after)


def _backward(kernels: Kernels, saved: Any, cotangents: BatchBlocks) -> tuple[Any, Any, Any]:
    first, inputs, parameters, after = saved
    return kernels.gradients(first, inputs, parameters, after, cotangents)


_roll.defvjp(_forward, _backward)


def _with_closure_as_parameters(
    step: Step, first: BatchBlocks, inputs: BatchBlocks, theta: Any
) -> tuple[Step, Any]:
    """The step with the arrays it closes over (eta, mu) as parameters beside theta.

    `jax.closure_convert` leaves those that are not traced, but a kernel may not close over any.
    """
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[2:], x.dtype), (first, inputs))
    closed = jax.make_jaxpr(step)(*one, theta)

    def converted(carry: LowerCarry, inputs: Any, parameters: Any) -> LowerCarry:
        theta, closed_over = parameters
        leaves = jax.tree.leaves((carry, inputs, theta))
        leaves = jax.core.eval_jaxpr(closed.jaxpr, closed_over, *leaves)
        return jax.tree.unflatten(jax.tree.structure(carry), leaves)

    return converted, (theta, closed.consts)


def _check_unchecked(*arrays: Any) -> None:
    """ValueError inside a `jax.shard_map` that checks what varies: a kernel cannot say it."""
    if axes := varying_axes(arrays):
        raise ValueError(
            f"expected a jax.shard_map with check_vma=False around kernels, got arrays that vary "
            f"over {sorted(axes)}; or read with unroll (Unrolled)"
        )
