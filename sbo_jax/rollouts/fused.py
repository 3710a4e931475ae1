"""The rollout as one GPU kernel: weights and iterate stay on the chip from first step to last.

A scan launches kernels at every time step, and each fetches W anew; a GPU mostly waits if the
products are small. Here every program of a grid reads one block of the batch from t = 1 to T. The
mathematics inside is `lower_step` itself, traced into the kernel: any energy, and any solver whose
state is one number per unit. Backward, a second kernel runs the adjoint recursion alone,

    a_t = g_t + (dc_{t+1} / dc_t)^T a_{t+1},    c_t the carry, g_t its cotangent,

and one product over all steps and samples then gives the gradients of drives and parameters.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float

from .._checks import check_counts
from .._types import (
    DriveSequence,
    Hidden,
    HiddenSequence,
    LowerCarry,
    LowerProblem,
    LowerSolver,
    MaskSequence,
    ResidualProblem,
)
from ..lower.step import as_carry, check_state_per_unit, lower_step
from .reading import Reading, RolloutResult, check_rollout, where_valid
from .unrolled import unroll

# Triton multiplies tiles of at least this many rows and columns.
_TILE = 16
# With 4, the backward kernel of 128 dense units spills registers.
_WARPS = 8

# Pytrees of arrays in blocks of the batch, as the kernels read them; a single carry has time 1.
BatchBlocks: TypeAlias = Any
BatchBlock: TypeAlias = Float[Array, "time blocks rows *rest"]
Step: TypeAlias = Callable[[LowerCarry, Any, Any], LowerCarry]


def unroll_fused(
    problem: LowerProblem | ResidualProblem,
    solver: LowerSolver,
    h0: Hidden | LowerCarry,
    us: DriveSequence,
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
        `unroll` refuses; also from JAX, on a CPU without `interpret`.
    """
    carry = as_carry(solver, h0)
    check_rollout(problem, carry.h, us, theta, mask)
    check_counts(batch_block=batch_block)
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
    after = _roll(_Kernels(pure_step, interpret), first, inputs, parameters)
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


@dataclass(frozen=True, eq=False)
class _Kernels:
    """Both kernels of a step that takes and returns one block."""

    step: Step
    interpret: bool

    def carries(self, first: BatchBlocks, inputs: BatchBlocks, parameters: Any) -> BatchBlocks:
        """The carries after every step."""
        num_steps = _length(inputs)

        def kernel(blocked: Any, parameters: Any, after: Any) -> None:
            (first, inputs), parameters = blocked, _read(parameters)

            def advance(t: jax.Array, carry: LowerCarry) -> LowerCarry:
                carry = self.step(carry, _read(inputs, t), parameters)
                _write(after, t, carry)
                return carry

            jax.lax.fori_loop(0, num_steps, advance, _read(first, 0))

        out = (_of_length(num_steps, first),)
        return self._call(kernel, (first, inputs), parameters, out)[0]

    def adjoints(
        self, before: BatchBlocks, inputs: BatchBlocks, parameters: Any, cotangents: BatchBlocks
    ) -> tuple[BatchBlocks, BatchBlocks]:
        """The adjoints of the first carry, and of the carries after every step."""
        num_steps = _length(inputs)

        def kernel(blocked: Any, parameters: Any, start: Any, adjoints: Any) -> None:
            (before, inputs, cotangents), parameters = blocked, _read(parameters)

            def retreat(i: jax.Array, reaching: LowerCarry) -> LowerCarry:
                t = num_steps - 1 - i
                adjoint = jax.tree.map(jnp.add, reaching, _read(cotangents, t))
                _write(adjoints, t, adjoint)
                carry, u = _read(before, t), _read(inputs, t)
                return jax.vjp(lambda carry: self.step(carry, u, parameters), carry)[1](adjoint)[0]

            nothing = jax.tree.map(lambda ref: jnp.zeros(ref.shape[1:], ref.dtype), start)
            _write(start, 0, jax.lax.fori_loop(0, num_steps, retreat, nothing))

        out = (_of_length(1, before), _of_length(num_steps, before))
        return self._call(kernel, (before, inputs, cotangents), parameters, out)

    def pull(
        self, before: BatchBlocks, inputs: BatchBlocks, parameters: Any, adjoints: BatchBlocks
    ) -> tuple[BatchBlocks, Any]:
        """Gradients in inputs and parameters, for all steps and samples in one product."""
        step = jax.vmap(jax.vmap(self.step, (0, 0, None)), (0, 0, None))
        return jax.vjp(partial(step, before), inputs, parameters)[1](adjoints)

    def _call(self, kernel: Callable, blocked: BatchBlocks, parameters: Any, out: Any) -> Any:
        """Run one program per block; each sees its own block and all parameters."""
        return pl.pallas_call(
            kernel,
            out_shape=out,
            grid=(jax.tree.leaves(blocked)[0].shape[1],),
            in_specs=(jax.tree.map(_own_block, blocked), jax.tree.map(_all_of, parameters)),
            out_specs=jax.tree.map(_own_block, out),
            interpret=self.interpret,
            compiler_params=triton.CompilerParams(num_warps=_WARPS),
        )(blocked, parameters)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _roll(
    kernels: _Kernels, first: BatchBlocks, inputs: BatchBlocks, parameters: Any
) -> BatchBlocks:
    """The carries after every step."""
    return kernels.carries(first, inputs, parameters)


def _roll_forward(
    kernels: _Kernels, first: BatchBlocks, inputs: BatchBlocks, parameters: Any
) -> tuple[BatchBlocks, Any]:
    after = kernels.carries(first, inputs, parameters)
    return after, (first, inputs, parameters, after)


def _roll_backward(kernels: _Kernels, saved: Any, cotangents: BatchBlocks) -> tuple[Any, Any, Any]:
    first, inputs, parameters, after = saved
    before = jax.tree.map(lambda c0, c: jnp.concatenate([c0, c[:-1]]), first, after)
    start, adjoints = kernels.adjoints(before, inputs, parameters, cotangents)
    return start, *kernels.pull(before, inputs, parameters, adjoints)


_roll.defvjp(_roll_forward, _roll_backward)


def _own_block(x: Any) -> pl.BlockSpec:
    rest = x.shape[2:]
    return pl.BlockSpec((x.shape[0], None, *rest), lambda i: (0, i, *[0] * len(rest)))


def _all_of(x: jax.Array) -> pl.BlockSpec:
    return pl.BlockSpec(x.shape, lambda i: (0,) * x.ndim)


def _of_length(num_steps: int, carry: BatchBlocks) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((num_steps, *x.shape[1:]), x.dtype), carry)


def _length(blocked: BatchBlocks) -> int:
    return len(jax.tree.leaves(blocked)[0])


def _read(refs: Any, t: Any = ...) -> Any:
    return jax.tree.map(lambda ref: ref[t], refs)


def _write(refs: Any, t: Any, values: Any) -> None:
    for ref, value in zip(jax.tree.leaves(refs), jax.tree.leaves(values), strict=True):
        ref[t] = value


def _check_sizes(rows: int, features: int, parameters: Any) -> None:
    """ValueError unless every size is a power of two, at least that of a tile."""
    sizes = {"batch_block": rows, "hidden features": features}
    for leaf in jax.tree.leaves(parameters):
        sizes |= {f"an axis of parameters of shape {leaf.shape}": n for n in leaf.shape}
    for name, size in sizes.items():
        if size < _TILE or size & (size - 1):
            raise ValueError(
                f"expected powers of two, {_TILE} or more, which is what GPU kernels compute on, "
                f"got {size} for {name}; try partial(LowRank.init, rank=64) for rank 50, or unroll"
            )


@dataclass(frozen=True)
class Fused:
    """What `Unrolled` computes, by one GPU kernel forward and one backward; see `unroll_fused`."""

    batch_block: int = 16
    interpret: bool = False
    damping: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        check_counts(batch_block=self.batch_block)

    def __call__(self, reading: Reading) -> RolloutResult:
        problem, solver, carry, _, theta, mask, _ = reading
        carry, hs = unroll_fused(problem, solver, carry, reading.us, theta, mask=mask, **vars(self))
        return carry, hs, None
