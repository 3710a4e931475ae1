"""Arrays of a batch cut into blocks, and how a kernel reads and writes them, step by step."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._types import LowerCarry

BatchBlock: TypeAlias = Float[Array, "time blocks rows *rest"]
# Pytrees of them, as kernels read them; a single carry has time 1.
BatchBlocks: TypeAlias = Any
# ``(carry, inputs, parameters) -> carry`` of one block.
Step: TypeAlias = Callable[[LowerCarry, Any, Any], LowerCarry]


@dataclass(frozen=True)
class Grid:
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


def num_steps(blocked: BatchBlocks) -> int:
    return len(jax.tree.leaves(blocked)[0])


def num_blocks(blocked: BatchBlocks) -> int:
    return jax.tree.leaves(blocked)[0].shape[1]


def of_length(length: int, carry: BatchBlocks) -> Any:
    """The shapes of carries of so many steps."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((length, *x.shape[1:]), x.dtype), carry)


def read(refs: Any, t: Any = ...) -> Any:
    return jax.tree.map(lambda ref: ref[t], refs)


def write(refs: Any, t: Any, values: Any) -> None:
    for ref, value in zip(jax.tree.leaves(refs), jax.tree.leaves(values), strict=True):
        ref[t] = value
