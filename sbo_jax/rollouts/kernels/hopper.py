"""The two GPU kernels of a fused rollout on tensor cores of Hopper, by Pallas' Mosaic GPU.

Weights stay in shared memory, the iterate in registers; a product goes from one to the other by
`wgmma`, which multiplies 64 rows at a time. The mathematics is that of `kernels.gpu`: all steps
forward, all adjoints backward, and one product over all steps for the gradients of parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ..._types import LowerCarry
from .adjoints import carries_before, gradients_of_steps
from .blocks import BatchBlocks, Step, num_blocks, num_steps, of_length, write
from .hoisting import HoistedStep
from .shared import ROWS, TRY, WIDEST, Shared, plgpu


@dataclass(frozen=True, eq=False)
class HopperKernels:
    """Both kernels of a step that takes and returns one block of 64 rows.

    Args:
      step: of one block, in float32.
      interpret: False, or a `plgpu.InterpretGPUParams`.
    """

    step: Step
    interpret: Any

    def carries(self, first: BatchBlocks, inputs: BatchBlocks, parameters: Any) -> BatchBlocks:
        """The carries after every step."""
        steps = num_steps(inputs)
        step = HoistedStep.of(self.step, _one((first, inputs)), parameters)

        def roll(rest: Callable, block: _Block, blocked: Any, after: Any) -> None:
            first, inputs = blocked

            def advance(t: jax.Array, carry: LowerCarry) -> LowerCarry:
                carry = _in_registers(rest((carry, block.read(inputs, t))))
                block.write(after, t, carry)
                return carry

            jax.lax.fori_loop(0, steps, advance, block.read(first, 0))

        out = of_length(steps, first)
        return _call(roll, step, (first, inputs), parameters, out, self.interpret)

    def gradients(
        self,
        first: BatchBlocks,
        inputs: BatchBlocks,
        parameters: Any,
        after: BatchBlocks,
        cotangents: BatchBlocks,
    ) -> tuple[BatchBlocks, BatchBlocks, Any]:
        """The adjoints by a kernel; from these, the gradients by products over all steps."""
        before = carries_before(first, after)
        start, adjoints = self._adjoints(before, inputs, parameters, cotangents)
        return start, *gradients_of_steps(self.step, before, inputs, parameters, adjoints)

    def _adjoints(
        self, before: BatchBlocks, inputs: BatchBlocks, parameters: Any, cotangents: BatchBlocks
    ) -> tuple[BatchBlocks, BatchBlocks]:
        """Those of the first carry, and of the carries after every step."""
        steps = num_steps(inputs)

        def step_back(before: Any, inputs: Any, adjoint: Any, parameters: Any) -> Any:
            return jax.vjp(lambda c: self.step(c, inputs, parameters), before)[1](adjoint)[0]

        step = HoistedStep.of(step_back, _one((before, inputs, cotangents)), parameters)

        def roll(rest: Callable, block: _Block, blocked: Any, out: Any) -> None:
            (before, inputs, cotangents), (start, adjoints) = blocked, out

            def retreat(i: jax.Array, reaching: LowerCarry) -> LowerCarry:
                t = steps - 1 - i
                adjoint = jax.tree.map(jnp.add, reaching, block.read(cotangents, t))
                block.write(adjoints, t, adjoint)
                return _in_registers(rest((block.read(before, t), block.read(inputs, t), adjoint)))

            nothing = jax.tree.map(lambda ref: jnp.zeros(ref.shape[2:], ref.dtype), start)
            nothing = _in_registers(nothing)
            block.write(start, 0, jax.lax.fori_loop(0, steps, retreat, nothing))

        blocked, out = (
            (before, inputs, cotangents),
            (of_length(1, before), of_length(steps, before)),
        )
        return _call(roll, step, blocked, parameters, out, self.interpret)


def _one(blocked: Any) -> Any:
    """The shapes of one block at one time."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[2:], x.dtype), blocked)


def _in_registers(blocks: Any) -> Any:
    """As `wgmma` leaves its results there."""
    return jax.tree.map(lambda x: plgpu.layout_cast(x, plgpu.Layout.WGMMA), blocks)


@dataclass(frozen=True)
class _Block:
    """The block of the batch that a program reads and writes, in main memory."""

    index: Any

    def read(self, refs: Any, t: Any) -> Any:
        load = partial(plgpu.load, layout=plgpu.Layout.WGMMA, optimized=False)
        return jax.tree.map(lambda ref: load(ref.at[t, self.index]), refs)

    def write(self, refs: Any, t: Any, values: Any) -> None:
        write(refs, (t, self.index), values)


def _call(
    roll: Callable[..., None],
    step: HoistedStep,
    blocked: BatchBlocks,
    parameters: Any,
    out: Any,
    interpret: Any,
) -> Any:
    """Run ``roll(rest of the step, block, blocked, out)`` for every block of the batch."""
    taken = step.before(parameters)
    shared = Shared.of(step, taken)
    rows = {i: x for i, x in enumerate(taken) if not shared.has(i)}

    def kernel(
        blocked: Any, rows: Any, copies: Any, out: Any, matrices: Any, staged: Any, barrier: Any
    ) -> None:
        for source, target in zip(copies, matrices, strict=True):
            plgpu.copy_gmem_to_smem(source, target, barrier)
            plgpu.barrier_wait(barrier)
        given = [_row(rows[i]) if i in rows else i for i in range(len(taken))]
        rest = partial(step.rest, taken=given, multiply=partial(shared.multiply, matrices, staged))
        roll(rest, _Block(jax.lax.axis_index("block")), blocked, out)

    return plgpu.kernel(
        kernel,
        out_type=(out,),
        scratch_types=(*shared.memory(), plgpu.Barrier()),
        grid=(num_blocks(blocked),),
        grid_names=("block",),
        interpret=interpret,
    )(blocked, rows, shared.copies)[0]


def _row(ref: Any) -> Any:
    """A number, or one for every column of a block."""
    if not ref.shape:
        return ref[...]
    return plgpu.load(ref, layout=plgpu.Layout.WGMMA.reduce(0), optimized=False)


def check_blocks(*blocked: BatchBlocks) -> None:
    """ValueError unless every number is a float32, in rows that `wgmma` takes."""
    for x in jax.tree.leaves(blocked):
        if x.dtype != jnp.float32 or x.shape[-1] % ROWS or x.shape[-1] > WIDEST:
            raise ValueError(
                f"expected float32 and hidden features in multiples of {ROWS}, at most {WIDEST}, "
                f"got {x.dtype} and {x.shape[-1]}; change them, or {TRY}"
            )
