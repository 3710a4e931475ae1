"""The rollout as one kernel on tensor cores: compiled for an H100, never run, so `experimental`."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from .._types import (
    HiddenSequence,
    LowerCarry,
    LowerProblem,
    LowerSolver,
    MaskSequence,
    ResidualProblem,
)
from .kernels.blocks import BatchBlocks, Step
from .kernels.roll import Kernels, unroll_by_kernels
from .reading import Reading, RolloutResult
from .unrolled import Unrolled

_FIRST_JAX = (0, 12)


def experimental_unroll_fused_hopper(
    problem: LowerProblem | ResidualProblem,
    solver: LowerSolver,
    h0: Any,
    us: Any,
    theta: Any,
    *,
    mask: MaskSequence | None = None,
    interpret: Any = False,
) -> tuple[LowerCarry, HiddenSequence]:
    """What `unroll` computes, as one kernel forward and one backward, on tensor cores of Hopper.

    Stores the carries of all steps; has first derivatives only, in reverse mode. States are
    float32; products are bfloat16 where the operator says so, else one pass of TF32. Compiled for
    an H100, but never run or timed on one; name and arguments may change.

    Args:
      problem: the lower-level energy.
      solver: one whose state has one number per unit, like `sgd`, `heavy_ball` and `nesterov`.
      h0: as for `unroll`.
      us: as for `unroll`, in float32; the number of hidden units is a multiple of 64, 256 at most.
      theta: the parameters of `problem`; so is the length of every axis.
      mask: as for `unroll`.
      interpret: interpret the kernels, on any device: True, or a `plgpu.InterpretGPUParams`, which
        simulates a GPU's memory. It does not round products to TF32.

    Raises:
      ValueError: a JAX before 0.12, sizes that a kernel cannot hold, exact products, a solver state
        that is not per unit, or what `unroll` refuses; a `jax.shard_map` with its default checks.
    """
    _check_jax()
    from .kernels import hopper

    def kernels(step: Step, first: BatchBlocks, inputs: BatchBlocks, parameters: Any) -> Kernels:
        hopper.check_blocks(first, inputs)
        simulated = hopper.plgpu.InterpretGPUParams() if interpret is True else interpret
        return hopper.HopperKernels(step, simulated)

    return unroll_by_kernels(
        problem,
        solver,
        h0,
        us,
        theta,
        mask,
        rows_of=lambda _: hopper.ROWS,
        kernels_of=kernels,
        mask_columns=jnp.shape(us)[-1],
    )


def _check_jax() -> None:
    if jax.__version_info__ < _FIRST_JAX:
        raise ValueError(
            f"expected JAX 0.12 or later, whose Mosaic GPU the kernels are written for, got "
            f"{jax.__version__}; try Fused, or unroll (Unrolled)"
        )


@dataclass(frozen=True)
class ExperimentalFusedHopper:
    """What `Unrolled` computes, by two Mosaic GPU kernels; `experimental_unroll_fused_hopper`."""

    interpret: Any = False
    damping: ClassVar[float] = 0.0
    causal: ClassVar[bool] = True

    step_by_step: ClassVar[Unrolled] = Unrolled()

    def __call__(self, reading: Reading) -> RolloutResult:
        problem, solver, carry, us, theta, mask = reading.driven
        carry, hs = experimental_unroll_fused_hopper(
            problem, solver, carry, us, theta, mask=mask, **vars(self)
        )
        return carry, hs, None
