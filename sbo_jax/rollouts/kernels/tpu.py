"""The two TPU kernels of a fused rollout: weights and iterate stay in VMEM while time streams by.

A kernel runs over a grid of (blocks of the batch, chunks of time). The chunks of a block come one
after the other, backward in reverse, and hand the carry, or its adjoint, on in VMEM; meanwhile the
drives of the next chunk come in and the states of the last one go out. The backward kernel sums the
gradients of the parameters in VMEM, too, so that no adjoint is ever written.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from ..._types import LowerCarry
from .blocks import BatchBlocks, Step, num_blocks, num_steps, of_length, read, write


@dataclass(frozen=True, eq=False)
class TPUKernels:
    """Both kernels of a step that takes and returns one block.

    Args:
      step: of one block.
      chunk: steps that are in VMEM at a time.
      vmem_bytes: what a kernel may take of it.
      interpret: as for `jax.experimental.pallas.pallas_call`.
    """

    step: Step
    chunk: int
    vmem_bytes: int
    interpret: Any

    def carries(self, first: BatchBlocks, inputs: BatchBlocks, parameters: Any) -> BatchBlocks:
        """The carries after every step."""
        time = _Chunks(num_steps(inputs), self.chunk)
        matrices = _as_matrices(parameters)

        def kernel(first: Any, inputs: Any, matrices: Any, after: Any, carried: Any) -> None:
            chunk, theta = pl.program_id(1), _read_as(parameters, matrices)
            pl.when(chunk == 0)(lambda: write(carried, ..., read(first, 0)))

            def advance(t: jax.Array, carry: LowerCarry) -> LowerCarry:
                carry = self.step(carry, read(inputs, t), theta)
                write(after, t, carry)
                return carry

            last = jax.lax.fori_loop(0, time.steps_of(chunk), advance, read(carried))
            write(carried, ..., last)

        out = (of_length(time.steps, first),)
        return self._call(
            kernel,
            (first, inputs, matrices),
            (_specs(first, _first), _specs(inputs, time.forward), _whole(matrices)),
            out,
            _specs(out, time.forward),
            (num_blocks(inputs), time.count),
            first,
        )[0]

    def gradients(
        self,
        first: BatchBlocks,
        inputs: BatchBlocks,
        parameters: Any,
        after: BatchBlocks,
        cotangents: BatchBlocks,
    ) -> tuple[BatchBlocks, BatchBlocks, Any]:
        """Those in the first carry, the inputs and the parameters."""
        time = _Chunks(num_steps(inputs), self.chunk)
        matrices = _as_matrices(parameters)

        def kernel(
            first: Any,
            previous: Any,
            after: Any,
            inputs: Any,
            cotangents: Any,
            matrices: Any,
            d_first: Any,
            d_inputs: Any,
            d_matrices: Any,
            carried: Any,
        ) -> None:
            block, turn = pl.program_id(0), pl.program_id(1)
            chunk, theta = time.count - 1 - turn, _read_as(parameters, matrices)
            pl.when(turn == 0)(lambda: _clear(carried))
            pl.when((turn == 0) & (block == 0))(lambda: _clear(d_matrices))
            steps = time.steps_of(chunk)
            entering = _select(chunk == 0, read(first, 0), read(previous, 0))

            def retreat(i: jax.Array, reaching: LowerCarry) -> LowerCarry:
                t = steps - 1 - i
                adjoint = jax.tree.map(jnp.add, reaching, read(cotangents, t))
                before = _select(t == 0, entering, read(after, jnp.maximum(t - 1, 0)))
                pull = jax.vjp(self.step, before, read(inputs, t), theta)[1]
                reaching, d_input, d_theta = pull(adjoint)
                write(d_inputs, t, d_input)
                sums = jax.tree.map(jnp.add, read(d_matrices), _as_matrices(d_theta))
                write(d_matrices, ..., sums)
                return reaching

            reached = jax.lax.fori_loop(0, steps, retreat, read(carried))
            write(carried, ..., reached)
            pl.when(chunk == 0)(lambda: write(d_first, 0, reached))

        streams = (_specs(each, time.backward) for each in (after, inputs, cotangents))
        out = (of_length(1, first), *jax.tree.map(_shape, (inputs, matrices)))
        d_first, d_inputs, d_matrices = self._call(
            kernel,
            (first, after, after, inputs, cotangents, matrices),
            (_specs(first, _first), _specs(after, time.before), *streams, _whole(matrices)),
            out,
            (_specs(first, _first), _specs(inputs, time.backward), _whole(matrices)),
            (num_blocks(inputs), time.count),
            first,
        )
        d_parameters = jax.tree.map(
            lambda d, like: d.reshape(jnp.shape(like)), d_matrices, parameters
        )
        return d_first, d_inputs, d_parameters

    def _call(
        self,
        kernel: Callable,
        arguments: Any,
        in_specs: Any,
        out: Any,
        out_specs: Any,
        grid: tuple[int, int],
        carry: BatchBlocks,
    ) -> Any:
        """Run the grid in order, with a carry in VMEM that survives from chunk to chunk."""
        return pl.pallas_call(
            kernel,
            out_shape=out,
            grid=grid,
            in_specs=in_specs,
            out_specs=out_specs,
            scratch_shapes=(jax.tree.map(lambda x: pltpu.VMEM(x.shape[2:], x.dtype), carry),),
            compiler_params=pltpu.CompilerParams(
                dimension_semantics=("arbitrary", "arbitrary"), vmem_limit_bytes=self.vmem_bytes
            ),
            interpret=self.interpret,
        )(*arguments)


# ``grid position in time -> (steps in a block, number of the block)``
_Times = tuple[int, Callable[[Any], Any]]


@dataclass(frozen=True)
class _Chunks:
    """`steps` steps in chunks of at most `size`; the last one may be shorter."""

    steps: int
    limit: int

    @property
    def size(self) -> int:
        return min(self.limit, self.steps)

    @property
    def count(self) -> int:
        return -(-self.steps // self.size)

    def steps_of(self, chunk: Any) -> Any:
        if self.steps % self.size == 0:
            return self.size
        return jnp.minimum(self.size, self.steps - chunk * self.size)

    @property
    def forward(self) -> _Times:
        return self.size, lambda turn: turn

    @property
    def backward(self) -> _Times:
        return self.size, lambda turn: self.count - 1 - turn

    @property
    def before(self) -> _Times:
        """Going backward, the last step of the chunk before; of the first, any."""
        return 1, lambda turn: jnp.maximum((self.count - 1 - turn) * self.size - 1, 0)


_first: _Times = (1, lambda turn: 0)


def _specs(blocked: Any, times: _Times) -> Any:
    """Blocks ``[steps, rows, *rest]`` of ``[time, blocks, rows, *rest]``."""
    size, number = times

    def spec(x: Any) -> pl.BlockSpec:
        rest = x.shape[2:]
        zeros = (0,) * len(rest)
        return pl.BlockSpec((size, None, *rest), lambda block, turn: (number(turn), block, *zeros))

    return jax.tree.map(spec, blocked)


def _whole(matrices: Any) -> Any:
    return jax.tree.map(lambda x: pl.BlockSpec(x.shape, lambda *_: (0, 0)), matrices)


def _shape(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _as_matrices(parameters: Any) -> Any:
    """VMEM holds matrices: numbers and vectors become such of one row."""

    def matrix(x: Any) -> jax.Array:
        x = jnp.asarray(x)
        return x.reshape((1,) * (2 - x.ndim) + x.shape)

    return jax.tree.map(matrix, parameters)


def _read_as(parameters: Any, matrices: Any) -> Any:
    """The parameters, in the shapes that they had before `_as_matrices`."""
    index = {0: (0, 0), 1: 0}
    return jax.tree.map(lambda x, ref: ref[index.get(jnp.ndim(x), ...)], parameters, matrices)


def _clear(refs: Any) -> None:
    write(refs, ..., jax.tree.map(lambda ref: jnp.zeros(ref.shape, ref.dtype), refs))


def _select(condition: Any, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
