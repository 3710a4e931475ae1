"""The two GPU kernels of a fused rollout: all steps forward, and all their adjoints backward.

A kernel is one program per block of the batch; it sees its own block and all parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from .._types import LowerCarry

# Dense heavy ball of 128 units trains 6 to 10 % faster with 4 than with 8, on an H100.
_WARPS = 4

# Pytrees of arrays in blocks of the batch, as the kernels read them; a single carry has time 1.
BatchBlocks: TypeAlias = Any
Step: TypeAlias = Callable[[LowerCarry, Any, Any], LowerCarry]


@dataclass(frozen=True, eq=False)
class Kernels:
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
        """Run one program per block of the batch."""
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
def roll(kernels: Kernels, first: BatchBlocks, inputs: BatchBlocks, parameters: Any) -> BatchBlocks:
    """The carries after every step."""
    return kernels.carries(first, inputs, parameters)


def _forward(
    kernels: Kernels, first: BatchBlocks, inputs: BatchBlocks, parameters: Any
) -> tuple[BatchBlocks, Any]:
    after = kernels.carries(first, inputs, parameters)
    return after, (first, inputs, parameters, after)


def _backward(kernels: Kernels, saved: Any, cotangents: BatchBlocks) -> tuple[Any, Any, Any]:
    first, inputs, parameters, after = saved
    before = jax.tree.map(lambda c0, c: jnp.concatenate([c0, c[:-1]]), first, after)
    start, adjoints = kernels.adjoints(before, inputs, parameters, cotangents)
    return start, *kernels.pull(before, inputs, parameters, adjoints)


roll.defvjp(_forward, _backward)


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
