"""Memories that are solved for at every step: ridge regression on all that came before.

    S_t = argmin_S sum_{i <= t} b_i/2 ||S k_i - v_i||^2 + damping/2 ||S||^2
        = G_t (R_t + damping I)^-1

with the moments ``R_t = sum_{i <= t} b_i k_i k_i^T`` and ``G_t = sum_{i <= t} b_i v_i k_i^T``. No
S_t is formed: the answer is ``G_t x_t`` where x_t solves ``(R_t + damping I) x_t = q_t``. All steps
of a chunk are solved side by side, and each product with their R_t is two with R before the chunk
and with what the chunk's own steps add.

Source: von Oswald et al. 2023 (the mesa-layer) and 2025 (MesaNet, by chunks and conjugate
gradients), without forgetting.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._numerics import with_exact_products
from .._types import Memory
from .._varying import as_varying
from ..linear_solvers import CG, LinearSolver, MatVec, norm_per_sample
from ..lower.composed import check_damping
from ..lower.recall import Association
from .chunked import as_chunks, joined, products


class Moments(NamedTuple):
    """What a solved memory knows of the steps so far.

    Args:
      keys: R, the weighted sum of ``k k^T``.
      values: G, that of ``v k^T``.
    """

    keys: Float[Array, "*batch keys keys"]
    values: Memory

    @classmethod
    def of(cls, memory: Memory) -> "Moments":
        """Those of no steps, for memories of this shape and type."""
        *batch, _, num_keys = memory.shape
        keys = jnp.zeros((*batch, num_keys, num_keys), memory.dtype)
        return cls(keys, jnp.zeros_like(memory))


@with_exact_products
def unroll_solved(
    moments: Moments,
    written: Association,
    *,
    damping: float,
    mask: Bool[Array, "time ..."] | None = None,
    chunk: int = 64,
    linear_solver: LinearSolver | None = None,
) -> tuple[Moments, Float[Array, "time *batch values"], Float[Array, "time *batch"]]:
    """``S_t q_t`` of all steps, where S_t minimises `Recall` over the steps up to t.

    For gradients it keeps the moments before each chunk, and solves again.

    Args:
      moments: before the first step; see `Moments.of`.
      written: the associations of all steps with their queries, time-major.
      damping: a constant > 0; the smaller, the more products a solution needs.
      mask: where False, a step adds nothing, `[time, *batch]` or leading axes of it.
      chunk: steps that are solved side by side, a power of two.
      linear_solver: for symmetric positive definite matrices; None: `CG` with twice as many
        products as there are keys, since rounding spoils some.

    Returns:
      The moments after the last step; the answers; and of every step the residual,
      ``||q_t - (R_t + damping I) x_t|| / ||q_t||``, which says whether x_t is a solution.

    Raises:
      ValueError: shapes that do not fit, a chunk that is no power of two, or a damping of 0.
    """
    check_damping(damping)
    if not damping:
        raise ValueError("expected damping > 0, got 0: moments of few keys have no inverse")
    _check_moments(moments)
    _, chunks, num_steps = as_chunks(moments.values, written, mask, chunk)
    solver = linear_solver or CG(num_steps=2 * moments.values.shape[-1])

    @jax.checkpoint
    def read(moments: Moments, steps: tuple[Array, ...]) -> tuple[Moments, tuple[Array, Array]]:
        k, v, b, q = steps

        def weigh(xs: Array, moment: Array, added: Array) -> Array:
            """``M_t x_t`` of all steps, for either moment and what the steps add to it."""
            return xs @ jnp.swapaxes(moment, -1, -2) + jnp.tril(products(xs, k)) @ (b * added)

        def matvec(xs: Array) -> Array:
            return weigh(xs, moments.keys, k) + float(damping) * xs

        def solve(matvec: MatVec, q: Array) -> tuple[Array, Array]:
            solution = solver(matvec, q)
            norms = norm_per_sample(q)
            return solution.x, solution.residual_norm[..., None] / jnp.where(norms > 0, norms, 1)

        xs, residuals = jax.lax.custom_linear_solve(matvec, q, solve, symmetric=True, has_aux=True)
        sums = Moments(*(jnp.swapaxes(b * added, -1, -2) @ k for added in (k, v)))
        return jax.tree.map(jnp.add, moments, sums), (weigh(xs, moments.values, v), residuals)

    moments, chunks = as_varying(moments, chunks)
    moments, (answers, residuals) = jax.lax.scan(read, moments, chunks)
    return moments, joined(answers, num_steps), joined(residuals, num_steps)[..., 0]


def _check_moments(moments: Moments) -> None:
    """ValueError unless those of keys are squares that fit those of values."""
    keys, values = (jnp.shape(moment) for moment in moments)
    if len(values) < 2 or keys != (*values[:-2], values[-1], values[-1]):
        raise ValueError(
            f"expected moments [*batch, keys, keys] and [*batch, values, keys], got {keys} and "
            f"{values}; try Moments.of"
        )
