"""The two GPU kernels of a fused rollout: all steps forward, and all their adjoints backward.

A scan launches kernels at every time step, and each fetches W anew; a GPU mostly waits if the
products are small. Here every program of a grid reads one block of the batch from t = 1 to T.
Backward, a second kernel runs the adjoint recursion alone,

    a_t = g_t + (dc_{t+1} / dc_t)^T a_{t+1},    c_t the carry, g_t its cotangent,

and one product over all steps and samples then gives the gradients of drives and parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from ..._types import LowerCarry
from .adjoints import carries_before, gradients_of_steps
from .blocks import BatchBlocks, Step, num_blocks, num_steps, of_length, read, write

# Dense heavy ball of 128 units trains 6 to 10 % faster with 4 than with 8, on an H100.
_WARPS = 4


@dataclass(frozen=True, eq=False)
class GPUKernels:
    """Both kernels of a step that takes and returns one block."""

    step: Step
    interpret: bool

    def carries(self, first: BatchBlocks, inputs: BatchBlocks, parameters: Any) -> BatchBlocks:
        """The carries after every step."""
        steps = num_steps(inputs)

        def kernel(blocked: Any, parameters: Any, after: Any) -> None:
            (first, inputs), parameters = blocked, read(parameters)

            def advance(t: jax.Array, carry: LowerCarry) -> LowerCarry:
                carry = self.step(carry, read(inputs, t), parameters)
                write(after, t, carry)
                return carry

            jax.lax.fori_loop(0, steps, advance, read(first, 0))

        return self._call(kernel, (first, inputs), parameters, (of_length(steps, first),))[0]

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

        def kernel(blocked: Any, parameters: Any, start: Any, adjoints: Any) -> None:
            (before, inputs, cotangents), parameters = blocked, read(parameters)

            def retreat(i: jax.Array, reaching: LowerCarry) -> LowerCarry:
                t = steps - 1 - i
                adjoint = jax.tree.map(jnp.add, reaching, read(cotangents, t))
                write(adjoints, t, adjoint)
                carry, u = read(before, t), read(inputs, t)
                return jax.vjp(lambda carry: self.step(carry, u, parameters), carry)[1](adjoint)[0]

            nothing = jax.tree.map(lambda ref: jnp.zeros(ref.shape[1:], ref.dtype), start)
            write(start, 0, jax.lax.fori_loop(0, steps, retreat, nothing))

        out = (of_length(1, before), of_length(steps, before))
        return self._call(kernel, (before, inputs, cotangents), parameters, out)

    def _call(self, kernel: Callable, blocked: BatchBlocks, parameters: Any, out: Any) -> Any:
        """Run one program per block of the batch."""
        return pl.pallas_call(
            kernel,
            out_shape=out,
            grid=(num_blocks(blocked),),
            in_specs=(jax.tree.map(_own_block, blocked), jax.tree.map(_all_of, parameters)),
            out_specs=jax.tree.map(_own_block, out),
            interpret=self.interpret,
            compiler_params=None if self.interpret else _compiler_params(),
        )(blocked, parameters)


def _compiler_params() -> Any:
    """Those of Triton; ValueError where JAX has it no more, as it has announced."""
    try:
        from jax.experimental.pallas import triton
    except ImportError:
        raise ValueError(
            f"expected a JAX whose Pallas compiles by Triton, got {jax.__version__}; try "
            f"rollouts.ExperimentalFusedHopper, or read with unroll (Unrolled, unrolled)"
        ) from None
    return triton.CompilerParams(num_warps=_WARPS)


def _own_block(x: Any) -> pl.BlockSpec:
    rest = x.shape[2:]
    return pl.BlockSpec((x.shape[0], None, *rest), lambda i: (0, i, *[0] * len(rest)))


def _all_of(x: jax.Array) -> pl.BlockSpec:
    return pl.BlockSpec(x.shape, lambda i: (0,) * x.ndim)
