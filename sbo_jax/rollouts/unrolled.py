"""Reading a sequence is optimising h, one lower-level step per input, by `jax.lax.scan`.

`unroll` differentiates through the steps, in reverse or forward mode.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp

from .._checks import as_numbers, check_counts, is_more
from .._types import (
    Hidden,
    LowerCarry,
    LowerProblem,
    LowerSolver,
    MakeDrives,
    MaskSequence,
    ResidualProblem,
    Size,
)
from .._varying import as_varying
from ..lower.step import as_carry, lower_step
from .reading import Reading, RolloutResult, as_steps, check_rollout, where_valid

# What a scan reads: inputs or drives, and a mask.
_Steps: TypeAlias = tuple[Any, MaskSequence | None]
ReadState: TypeAlias = Callable[[Hidden, Any], Any]

# States of all steps that take more leave the caches of a CPU, or a TPU's chip, and are recomputed
# sooner than fetched (docs/speed.md). A GPU starts a kernel for every operation, and recomputes
# only where memory runs short.
_KEEP_BYTES, _KEEP_BYTES_GPU = 8 * 2**20, 256 * 2**20


def unroll(
    problem: LowerProblem | ResidualProblem,
    solver: LowerSolver,
    h0: Any,
    us: Any,
    theta: Any,
    *,
    mask: MaskSequence | None = None,
    drive: MakeDrives | None = None,
    read: ReadState | None = None,
    inner_steps: int = 1,
    scan_unroll: int = 1,
    remat_chunk: int | None = None,
) -> tuple[LowerCarry, Any]:
    """``h_t = step(h_{t-1}, u_t)`` for t = 1..T by `jax.lax.scan`; returns the carry and all h_t.

    Args:
      problem: the lower-level energy.
      solver: any optax transformation; `solvers` has the paper's.
      h0: the state before the first input, `[*batch, hidden]`, or a rollout's carry.
      us: the drives x_t V + b, time-major; a dict or a NamedTuple of arrays where the problem takes
        one, as `Recall` does.
      theta: the parameters of `problem`, for `Residual` an operator.
      mask: where False, a step leaves h and the solver state untouched. Keep NaN out of the drives
        there: the value ignores them, the gradient does not (0 x NaN).
      drive: computes the drives of any number of steps; `us` are then its inputs.
      read: ``(h_t, u_t) -> output`` of a step. The outputs of all steps are returned in place of
        the states, which are not kept then.
      inner_steps: lower-level steps per input (the paper: 1).
      scan_unroll: steps per iteration of the compiled loop; on CPU 1 was fastest at every size.
      remat_chunk: recompute the forward pass, `drive` included, in chunks of this many steps during
        the backward pass: memory falls from T states to T / chunk + chunk, at the cost of one more
        forward pass.

    Raises:
      ValueError: shapes that broadcasting would hide, or a count below 1.
    """
    us = as_steps(us)
    mask = None if mask is None else jnp.asarray(as_numbers("mask", mask))
    carry, us, theta, mask = as_varying(as_carry(solver, h0), us, theta, mask)
    drives = us if drive is None else jax.eval_shape(drive, us)
    check_rollout(problem, carry.h, drives, theta, mask)
    check_counts(inner_steps=inner_steps, scan_unroll=scan_unroll)
    if remat_chunk is not None:
        check_counts(remat_chunk=remat_chunk)

    def step(carry: LowerCarry, inputs: Any) -> tuple[LowerCarry, Any]:
        u, valid = inputs
        new = lower_step(problem, solver, carry, u, theta, inner_steps=inner_steps)
        new = where_valid(valid, new, carry)
        return new, new.h if read is None else read(new.h, u)

    def scan(carry: LowerCarry, inputs: Any) -> tuple[LowerCarry, Any]:
        us, mask = inputs
        us = us if drive is None else drive(us)
        return jax.lax.scan(step, carry, (us, mask), unroll=scan_unroll)

    if remat_chunk is None or not is_more(_num_steps(us), remat_chunk):
        return scan(carry, (us, mask))
    return _scan_rematerialised(scan, carry, (us, mask), remat_chunk)


def _scan_rematerialised(
    scan: Callable[[LowerCarry, _Steps], tuple[LowerCarry, Any]],
    carry: LowerCarry,
    inputs: _Steps,
    chunk: int,
) -> tuple[LowerCarry, Any]:
    """Scan whole chunks, each behind `jax.checkpoint`, then the remainder."""
    num_chunks = _num_steps(inputs) // chunk
    whole = num_chunks * chunk
    chunks = jax.tree.map(lambda x: x[:whole].reshape(num_chunks, chunk, *x.shape[1:]), inputs)
    rest = jax.tree.map(lambda x: x[whole:], inputs)
    carry, outputs = jax.lax.scan(jax.checkpoint(scan), carry, chunks)
    carry, last = scan(carry, rest)

    def join(chunks: jax.Array, rest: jax.Array) -> jax.Array:
        return jnp.concatenate([chunks.reshape(whole, *chunks.shape[2:]), rest])

    return carry, jax.tree.map(join, outputs, last)


def _num_steps(us: Any) -> Size:
    return jax.tree.leaves(us)[0].shape[0]


@dataclass(frozen=True)
class Unrolled:
    """One or several steps per input, differentiated through all of them; see `unroll`.

    Args:
      inner_steps: lower-level steps per input.
      scan_unroll: steps per iteration of the compiled loop.
      remat_chunk: see `unroll`. The default is sqrt(T) if the hidden states of all steps exceed
        8 MiB on a device, 256 MiB on a GPU; below that, keeping them is faster. T or more steps
        switch recomputation off.
      platform: cpu, gpu or tpu, for which that default is; None: JAX's default backend.
    """

    inner_steps: int = 1
    scan_unroll: int = 1
    remat_chunk: int | None = None
    platform: str | None = None
    damping: ClassVar[float] = 0.0
    causal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_counts(inner_steps=self.inner_steps, scan_unroll=self.scan_unroll)
        if self.remat_chunk is not None:
            check_counts(remat_chunk=self.remat_chunk)

    def __call__(self, reading: Reading) -> RolloutResult:
        problem, solver, carry, xs, theta, mask, drive = reading
        chunk = self.remat_chunk or default_chunk(_num_steps(xs), carry.h, self.platform)
        carry, hs = unroll(
            problem,
            solver,
            carry,
            xs,
            theta,
            mask=mask,
            drive=drive,
            inner_steps=self.inner_steps,
            scan_unroll=self.scan_unroll,
            remat_chunk=chunk,
        )
        return carry, hs, None


def default_chunk(
    num_steps: Size, h: Hidden | jax.ShapeDtypeStruct, platform: str | None = None
) -> int | None:
    """sqrt(T), which stores least, if the states of all T steps are too large to keep."""
    limit = _KEEP_BYTES_GPU if (platform or jax.default_backend()) == "gpu" else _KEEP_BYTES
    total = num_steps * h.size * h.dtype.itemsize
    return math.isqrt(num_steps) if is_more(total, limit) else None
