"""The rollout as one GPU kernel: weights and iterate stay on the chip from first step to last.

A scan launches kernels at every time step, and each fetches W anew; a GPU mostly waits if the
products are small. Here every program of a grid reads one block of the batch from t = 1 to T. The
mathematics inside is `lower_step` itself, traced into the kernel: any energy, and any solver whose
state is one number per unit. Backward, a second kernel runs the adjoint recursion alone,

    a_t = g_t + (dc_{t+1} / dc_t)^T a_{t+1},    c_t the carry, g_t its cotangent,

and one product over all steps and samples then gives the gradients of drives and parameters.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks import as_numbers, check_counts, check_flags
from .._types import (
    HiddenSequence,
    LowerCarry,
    LowerProblem,
    LowerSolver,
    MaskSequence,
    ResidualProblem,
)
from .._varying import varying_axes
from ..lower.step import as_carry, check_state_per_unit, lower_step
from ._kernels import BatchBlocks, Kernels, Step, roll
from .reading import Reading, RolloutResult, check_known_sizes, check_rollout, where_valid
from .unrolled import Unrolled, unroll

# Triton multiplies tiles of at least this many rows and columns.
_TILE = 16
BatchBlock: TypeAlias = Float[Array, "time blocks rows *rest"]


def unroll_fused(
    problem: LowerProblem | ResidualProblem,
    solver: LowerSolver,
    h0: Any,
    us: Any,
    theta: Any,
    *,
    mask: MaskSequence | None = None,
    batch_block: int = _TILE,
    interpret: bool = False,
) -> tuple[LowerCarry, HiddenSequence]:
    """What `unroll` computes, as one kernel forward and one backward, on NVIDIA GPUs.

    Stores the carries of all steps; has first derivatives only, in reverse mode. Theta must fit on
    one multiprocessor: in float32 on an H100, D = 128 for `Dense`, but not 256. Matrix products
    round as elsewhere on the GPU; see `jax.default_matmul_precision`.

    Args:
      problem: the lower-level energy.
      solver: one whose state has one number per unit, like `sgd`, `heavy_ball` and `nesterov`.
      h0: as for `unroll`.
      us: as for `unroll`; the number of hidden units is a power of two, at least 16.
      theta: the parameters of `problem`; so is the length of every axis.
      mask: as for `unroll`.
      batch_block: samples per program of the grid; also a power of two, at least 16.
      interpret: interpret the kernels, on any device: for tests, not for speed.

    Raises:
      ValueError: sizes that a kernel cannot hold, a solver state that is not per unit, or what
        `unroll` refuses; a `jax.shard_map` with its default checks; also from JAX, on a CPU without
        `interpret`.
    """
    us = jnp.asarray(as_numbers("drives", us))
    mask = None if mask is None else jnp.asarray(as_numbers("mask", mask))
    carry = as_carry(solver, h0)
    check_rollout(problem, carry.h, us, theta, mask)
    _check_unchecked(carry, us, theta, mask)
    check_known_sizes("known sizes for a kernel", us.shape)
    check_counts(batch_block=batch_block)
    check_flags(interpret=interpret)
    check_state_per_unit(carry)
    if us.size == 0:
        return unroll(problem, solver, carry, us, theta, mask=mask)

    def step(carry: LowerCarry, inputs: Any, theta: Any) -> LowerCarry:
        u, valid = inputs
        new = lower_step(problem, solver, carry, u, theta)
        return where_valid(None if valid is None else valid > 0, new, carry)

    grid = _Grid(us.shape[1:-1], batch_block)
    first = jax.tree.map(lambda leaf: grid.split(leaf[None]), carry)
    # A mask is loaded as numbers: Triton has no pointers to booleans.
    inputs = jax.tree.map(grid.split, (us, None if mask is None else mask.astype(us.dtype)))
    pure_step, parameters = _with_closure_as_parameters(step, first, inputs, theta)
    _check_sizes(batch_block, us.shape[-1], parameters)
    after = roll(Kernels(pure_step, interpret), first, inputs, parameters)
    after = jax.tree.map(grid.join, after)
    return jax.tree.map(lambda leaf: leaf[-1], after), after.h


@dataclass(frozen=True)
class _Grid:
    """``[time, *batch, ...]`` to and from ``[time, blocks, rows, ...]``, padded with zeros."""

    batch: tuple[int, ...]
    rows: int

    def split(self, x: jax.Array) -> BatchBlock:
        rest = x.shape[1 + len(self.batch) :]
        samples = math.prod(self.batch)
        x = x.reshape(len(x), samples, *rest)
        x = jnp.pad(x, [(0, 0), (0, -samples % self.rows)] + [(0, 0)] * len(rest))
        return x.reshape(len(x), -1, self.rows, *rest)

    def join(self, x: BatchBlock) -> jax.Array:
        x = x.reshape(len(x), -1, *x.shape[3:])[:, : math.prod(self.batch)]
        return x.reshape(len(x), *self.batch, *x.shape[2:])


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


def _check_sizes(rows: int, features: int, parameters: Any) -> None:
    """ValueError unless every size is a power of two, at least that of a tile."""
    sizes = {"batch_block": rows, "hidden features": features}
    for leaf in jax.tree.leaves(parameters):
        sizes |= {f"an axis of parameters of shape {leaf.shape}": n for n in leaf.shape}
    for name, size in sizes.items():
        if size < _TILE or size & (size - 1):
            raise ValueError(
                f"expected powers of two, {_TILE} or more, which is what GPU kernels compute on, "
                f"got {size} for {name}; change it (rank 50 to --rank 64, in the library "
                f"partial(LowRank.init, rank=64)), or read with unroll (Unrolled, unrolled)"
            )


@dataclass(frozen=True)
class Fused:
    """What `Unrolled` computes, by one GPU kernel forward and one backward; see `unroll_fused`."""

    batch_block: int = 16
    interpret: bool = False
    damping: ClassVar[float] = 0.0
    causal: ClassVar[bool] = True

    step_by_step: ClassVar[Unrolled] = Unrolled()

    def __post_init__(self) -> None:
        check_counts(batch_block=self.batch_block)
        check_flags(interpret=self.interpret)

    def __call__(self, reading: Reading) -> RolloutResult:
        problem, solver, carry, _, theta, mask, _ = reading
        carry, hs = unroll_fused(problem, solver, carry, reading.us, theta, mask=mask, **vars(self))
        return carry, hs, None
