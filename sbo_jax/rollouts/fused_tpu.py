"""The rollout as one TPU kernel: compiled for TPUs, never run on one, and so `experimental`."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from .._checks import check_counts
from .._types import (
    HiddenSequence,
    LowerCarry,
    LowerProblem,
    LowerSolver,
    MaskSequence,
    ResidualProblem,
)
from .kernels.blocks import BatchBlocks, Step
from .kernels.roll import unroll_by_kernels
from .kernels.tpu import TPUKernels
from .reading import Reading, RolloutResult
from .unrolled import Unrolled

# Rows of a tile in VMEM, for numbers of 16 bits; columns come in 128.
_ROWS, _COLUMNS = 16, 128
# What the smallest chip has; v5e and v6e have 128 MiB.
_VMEM = 16 * 2**20
# Blocks that a step of the backward kernel holds beside those that it streams.
_WORKING_BLOCKS = 24


def experimental_unroll_fused_tpu(
    problem: LowerProblem | ResidualProblem,
    solver: LowerSolver,
    h0: Any,
    us: Any,
    theta: Any,
    *,
    mask: MaskSequence | None = None,
    batch_block: int = 128,
    chunk: int = 32,
    vmem_bytes: int = _VMEM,
    interpret: Any = False,
) -> tuple[LowerCarry, HiddenSequence]:
    """What `unroll` computes, as one kernel forward and one backward, on TPUs.

    Stores the carries of all steps; has first derivatives only, in reverse mode. Compiled for v5e,
    v5p and v6e, but never run or timed on a TPU; name and arguments may change.

    Args:
      problem: the lower-level energy.
      solver: one whose state has one number per unit, like `sgd`, `heavy_ball` and `nesterov`.
      h0: as for `unroll`.
      us: as for `unroll`.
      theta: the parameters of `problem`.
      mask: as for `unroll`.
      batch_block: most samples that are read together; a multiple of 16.
      chunk: most steps in VMEM at a time; fewer where so many do not fit.
      vmem_bytes: VMEM that a kernel may take: 16 MiB on every chip, about 100 MiB on v5e and v6e.
      interpret: interpret the kernels, on any device: True, or a `pltpu.InterpretParams`, which
        simulates a TPU's memory.

    Raises:
      ValueError: what `unroll` refuses, a solver state that is not per unit, parameters too large
        for VMEM, or a `jax.shard_map` with its default checks.
    """
    _check_options(batch_block, chunk, vmem_bytes)

    def rows_of(samples: int) -> int:
        return min(batch_block, -(-samples // _ROWS) * _ROWS)

    def kernels(step: Step, first: BatchBlocks, inputs: BatchBlocks, parameters: Any) -> TPUKernels:
        fitting = _chunk_that_fits(vmem_bytes, first, inputs, parameters)
        return TPUKernels(step, min(chunk, fitting), vmem_bytes, interpret)

    return unroll_by_kernels(
        problem, solver, h0, us, theta, mask, rows_of=rows_of, kernels_of=kernels
    )


def _check_options(batch_block: int, chunk: int, vmem_bytes: int) -> None:
    check_counts(batch_block=batch_block, chunk=chunk, vmem_bytes=vmem_bytes)
    if batch_block % _ROWS:
        raise ValueError(f"expected a batch_block in multiples of {_ROWS}, got {batch_block}")


def _chunk_that_fits(
    vmem_bytes: int, first: BatchBlocks, inputs: BatchBlocks, parameters: Any
) -> int:
    """The most steps whose blocks fit beside the parameters; ValueError if not even one does.

    Everything is there twice, as it comes and goes while the kernel computes.
    """
    carry, streamed = (
        sum(_bytes(x.shape[2:], x.dtype) for x in jax.tree.leaves(tree)) for tree in (first, inputs)
    )
    matrices = sum(_bytes(jnp.shape(x), x.dtype) for x in jax.tree.leaves(parameters))
    # Parameters and their gradients; the carries of both ends, and what a step computes.
    kept = 4 * matrices + _WORKING_BLOCKS * carry
    step = 4 * (carry + streamed)
    if kept + step > vmem_bytes:
        raise ValueError(
            f"expected parameters and a step that fit {vmem_bytes / 2**20:.3g} MiB of VMEM, got "
            f"{(kept + step) / 2**20:.3g} MiB; try more vmem_bytes where the chip has more, a "
            f"smaller batch_block, or unroll (Unrolled)"
        )
    return (vmem_bytes - kept) // step


def _bytes(shape: tuple[int, ...], dtype: Any) -> int:
    """In VMEM, where a matrix is padded to whole tiles."""
    rows, columns = (1, 1, *shape)[-2:]
    padded = -(-rows // _ROWS) * _ROWS, -(-columns // _COLUMNS) * _COLUMNS
    return math.prod(padded) * jnp.dtype(dtype).itemsize


@dataclass(frozen=True)
class ExperimentalFusedTPU:
    """What `Unrolled` computes, by two TPU kernels; see `experimental_unroll_fused_tpu`."""

    batch_block: int = 128
    chunk: int = 32
    vmem_bytes: int = _VMEM
    interpret: Any = False
    damping: ClassVar[float] = 0.0
    causal: ClassVar[bool] = True

    step_by_step: ClassVar[Unrolled] = Unrolled()

    def __post_init__(self) -> None:
        _check_options(self.batch_block, self.chunk, self.vmem_bytes)

    def __call__(self, reading: Reading) -> RolloutResult:
        problem, solver, carry, us, theta, mask = reading.driven
        carry, hs = experimental_unroll_fused_tpu(
            problem, solver, carry, us, theta, mask=mask, **vars(self)
        )
        return carry, hs, None
