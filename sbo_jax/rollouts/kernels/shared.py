"""Shared memory of a GPU: matrices that stay in it, and blocks that are multiplied by them."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu

from .hoisting import HoistedStep, Product

# Its names differ from one version of JAX to the next.
plgpu: Any = mosaic_gpu
# Rows of a product by `wgmma`, and its most columns.
ROWS, WIDEST = 64, 256
# Bytes that shared memory interleaves, and those it has, less what the compiler takes.
_SWIZZLE, _SHARED_BYTES = 128, 223 * 1024
TRY = "read with unroll (Unrolled, unrolled)"


@dataclass(frozen=True, eq=False)
class Shared:
    """What is in shared memory: matrices, and blocks on their way into a product.

    `wgmma` takes matrices of 16 bits as they are or transposed; of 32 bits, only with the axis that
    it sums over last, so that those that are multiplied from both sides are there twice.

    Args:
      copies: the matrices, as they lie there.
      places: where the copy is, by the number of the matrix and the axis that is summed over.
      staged: the shapes of blocks.
    """

    copies: list[jax.Array]
    places: dict[tuple[int, int], int]
    staged: list[jax.ShapeDtypeStruct]

    @staticmethod
    def of(step: HoistedStep, taken: list[jax.Array]) -> "Shared":
        copies: list[jax.Array] = []
        places: dict[tuple[int, int], int] = {}
        for product in step.products:
            matrix = taken[product.number]
            _check_product(product, matrix)
            axis = product.axis if product.dtype.itemsize == 4 else 0
            if (product.number, axis) not in places:
                places[product.number, axis] = len(copies)
                copies.append(matrix if axis else matrix.T)
        blocks = dict.fromkeys((p.width, p.dtype) for p in step.products)
        staged = [jax.ShapeDtypeStruct((ROWS, width), dtype) for width, dtype in blocks]
        _check_fits((*copies, *staged))
        return Shared(copies, places, staged)

    def has(self, number: int) -> bool:
        return any(matrix == number for matrix, _ in self.places)

    def memory(self) -> tuple[list[Any], list[Any]]:
        """What a kernel allocates: for matrices, and for blocks."""
        return [_tiled(x) for x in self.copies], [_tiled(x) for x in self.staged]

    def multiply(
        self, matrices: Any, staged: Any, block: jax.Array, number: int, axis: int, dtype: Any
    ) -> jax.Array:
        """By `wgmma`, which sums in float32, rounded to the dtype."""
        stage = staged[self.staged.index(jax.ShapeDtypeStruct(block.shape, block.dtype))]
        stage[...] = block
        plgpu.commit_smem()
        place = self.places.get((number, axis))
        matrix = matrices[self.places[number, 0]] if place is None else matrices[place].T

        def multiplied(sums: Any) -> jax.Array:
            plgpu.wgmma(sums, stage, matrix)
            return plgpu.wgmma_accumulator_load(sums)

        sums = pl.run_scoped(multiplied, plgpu.ACC((ROWS, matrix.shape[1]), jnp.float32))
        return sums.astype(dtype)


def _tiled(x: Any) -> Any:
    """Memory for such an array, interleaved as `wgmma` reads it."""
    tile = (8, _SWIZZLE // x.dtype.itemsize)
    transforms = (plgpu.TilingTransform(tile), plgpu.SwizzleTransform(_SWIZZLE))
    return plgpu.SMEM(x.shape, x.dtype, transforms=transforms)


def _check_product(product: Product, matrix: jax.Array) -> None:
    if any(n % ROWS or n > WIDEST for n in matrix.shape):
        raise ValueError(
            f"expected axes of parameters in multiples of {ROWS}, at most {WIDEST}, got the shape "
            f"{matrix.shape}; change it (rank 50 to --rank 64, in the library "
            f"partial(LowRank.init, rank=64)), or {TRY}"
        )
    one_pass = product.precision in (None, (jax.lax.Precision.DEFAULT,) * 2)
    if product.dtype.itemsize == 4 and not one_pass:
        raise ValueError(
            f"expected products in bfloat16, or in one pass of TF32, which is what tensor cores "
            f"compute, got the precision {product.precision}; try Fused, or {TRY}"
        )


def _check_fits(arrays: Any) -> None:
    used = sum(math.prod(x.shape) * x.dtype.itemsize for x in arrays)
    if used > _SHARED_BYTES:
        raise ValueError(
            f"expected weights that fit {_SHARED_BYTES // 1024} KiB of shared memory, got "
            f"{used // 1024} KiB; try products in bfloat16, fewer hidden features, or {TRY}"
        )
