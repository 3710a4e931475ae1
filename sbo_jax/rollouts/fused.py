"""The rollout as one GPU kernel: weights and iterate stay on the chip from first step to last."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax

from .._checks import check_counts, check_flags
from .._types import (
    HiddenSequence,
    LowerCarry,
    LowerProblem,
    LowerSolver,
    MaskSequence,
    ResidualProblem,
)
from .kernels.blocks import BatchBlocks, Step
from .kernels.gpu import GPUKernels
from .kernels.roll import unroll_by_kernels
from .reading import Reading, RolloutResult
from .unrolled import Unrolled

# Triton multiplies tiles of at least this many rows and columns.
_TILE = 16


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
        `unroll` refuses; a JAX that has removed Triton from Pallas, as it has announced; a
        `jax.shard_map` with its default checks; also from JAX, on a CPU without `interpret`.
    """
    check_counts(batch_block=batch_block)
    check_flags(interpret=interpret)

    def kernels(step: Step, first: BatchBlocks, inputs: BatchBlocks, parameters: Any) -> GPUKernels:
        _check_sizes(batch_block, first.h.shape[-1], parameters)
        return GPUKernels(step, interpret)

    return unroll_by_kernels(
        problem, solver, h0, us, theta, mask, rows_of=lambda _: batch_block, kernels_of=kernels
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
        problem, solver, carry, us, theta, mask = reading.driven
        carry, hs = unroll_fused(problem, solver, carry, us, theta, mask=mask, **vars(self))
        return carry, hs, None
