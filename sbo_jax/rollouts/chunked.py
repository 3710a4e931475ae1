"""Memories written by the delta rule, a chunk of steps at a time by matrix products.

Within a chunk ``S_t = S_0 + sum_{i <= t} e_i k_i^T``, where ``e_t = b_t (v_t - S_{t-1} k_t)`` is
what step t corrects. The corrections solve a triangular system, ``(I + L) E = B (V - K S_0^T)``
with ``L = strictly lower part of B K K^T``: everything but S_0 is known for all chunks at once, and
a scan hands S_0 from chunk to chunk.

Source: Yang et al. 2024 (DeltaNet over the sequence length), after the WY form of products of
Householder matrices (Bischof and Van Loan 1987).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._checks import as_numbers, check_counts
from .._numerics import in_chunks
from .._types import Memory
from .._varying import as_varying
from ..lower.recall import Association, Recall, checked_query
from ..lower.step import as_state
from .reading import as_steps, check_known_sizes, check_rollout, where_valid

_Chunks = Float[Array, "chunks *batch steps numbers"]


def unroll_chunked(
    memory: Any,
    written: Association,
    *,
    eta: Any = 1.0,
    mask: Bool[Array, "time ..."] | None = None,
    chunk: int = 64,
) -> tuple[Memory, Float[Array, "time *batch values"]]:
    """What `unroll` computes with ``Recall()``, ``sgd(eta)`` and ``read=Recall.read``.

    For sequences of some hundred steps or more: all work is in matrix products, and gradients need
    one S per chunk. No S_t is kept. Products round as elsewhere on the device, where `unroll` has
    none to round; see `jax.default_matmul_precision`.

    Args:
      memory: S before the first step, `[*batch, values, keys]`.
      written: the associations of all steps with their queries, time-major.
      eta: the step size, one number.
      mask: where False, a step leaves S untouched, whatever its key, value and weight;
        `[time, *batch]` or leading axes of it.
      chunk: steps per chunk, a power of two; the size of keys and values is about right.

    Returns:
      S after the last step, and the answers ``S_t q_t``.

    Raises:
      ValueError: shapes that do not fit, or a chunk that is no power of two.
    """
    memory, (k, v, b, q), num_steps = as_chunks(memory, written, mask, chunk)
    eta = jnp.asarray(as_numbers("eta", eta), b.dtype)
    if eta.shape:
        raise ValueError(f"expected eta as one number, got an array of shape {eta.shape}")
    b = eta * b
    inverse = _unit_triangular_inverse(jnp.tril(b * products(k, k), -1))
    chunks = k, q, inverse @ (b * v), inverse @ (b * k), jnp.tril(products(q, k))
    memory, answers = jax.lax.scan(_read, memory, chunks)
    return memory, joined(answers, num_steps)


def as_chunks(
    memory: Any, written: Association, mask: Any, chunk: int
) -> tuple[Memory, tuple[Array, Array, Array, Array], int]:
    """The memory; keys, values, weights (0 under a mask) and queries; the number of steps.

    The four are `[chunks, *batch, steps, numbers]`, a weight being one number.

    Raises:
      ValueError: what `unroll_chunked` refuses.
    """
    check_counts(chunk=chunk)
    if chunk & (chunk - 1):
        raise ValueError(f"expected a power of two of steps per chunk, got {chunk}; try 64")
    memory = as_state(memory)
    written = jax.tree.map(lambda xs: xs.astype(memory.dtype), as_steps(written))
    mask = None if mask is None else jnp.asarray(as_numbers("mask", mask))
    check_rollout(Recall(), memory, written, None, mask)
    checked_query(written)
    num_steps = written.weight.shape[0]
    advice = "read with unroll, a RecallRNN after its read_step_by_step()"
    check_known_sizes("a known number of time steps to read by chunks", (num_steps,), advice)
    memory, written, mask = as_varying(memory, written, mask)
    k, v, b = written[:3]
    # Of a masked step nothing may come in, not even NaN.
    k, v, b = where_valid(mask, (k, v, b), jax.tree.map(jnp.zeros_like, (k, v, b)))
    chunk = min(chunk, 1 << (num_steps - 1).bit_length())  # one step is no chunk of 64
    steps = k, v, b[..., None], written.query
    return memory, jax.tree.map(lambda xs: _chunked(xs, chunk), steps), num_steps


def _read(memory: Memory, chunk: Any) -> tuple[Memory, Any]:
    """The memory after a chunk, and its answers on the way."""
    k, q, fixed, by_memory, attention = chunk
    transposed = jnp.swapaxes(memory, -1, -2)
    corrections = fixed - by_memory @ transposed
    answers = q @ transposed + attention @ corrections
    return memory + jnp.swapaxes(corrections, -1, -2) @ k, answers


def products(a: _Chunks, b: _Chunks) -> Array:
    """``a_i . b_j`` of all steps of a chunk."""
    return a @ jnp.swapaxes(b, -1, -2)


@jax.custom_jvp
def _unit_triangular_inverse(lower: Array) -> Array:
    """``(I + L)^-1`` of strictly lower triangular matrices, by halves.

    ``[[A, 0], [B, D]]^-1 = [[A^-1, 0], [-D^-1 B A^-1, D^-1]]``: unlike ``sum_i (-L)^i`` it forms no
    powers, which overflow where keys are alike. The number of rows is a power of two.
    """
    half = lower.shape[-1] // 2
    if half == 0:
        return jnp.ones_like(lower)
    halves = jnp.stack([lower[..., :half, :half], lower[..., half:, half:]])
    first, second = _unit_triangular_inverse(halves)
    corner = -_exact(_exact(second, lower[..., half:, :half]), first)
    above = jnp.concatenate([first, jnp.zeros_like(first)], -1)
    below = jnp.concatenate([corner, second], -1)
    return jnp.concatenate([above, below], -2)


@_unit_triangular_inverse.defjvp
def _tangent(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """``dX = -X dL X``: two products, instead of those of all halves."""
    inverse = _unit_triangular_inverse(*primals)
    return inverse, -_exact(_exact(inverse, tangents[0]), inverse)


def _exact(a: Array, b: Array) -> Array:
    """The product in the type of its factors: what an inverse rounds grows from half to half."""
    return jnp.matmul(a, b, precision="highest")


def _chunked(xs: Array, chunk: int) -> _Chunks:
    """`[time, *batch, n]` in chunks, with steps before numbers; zeros fill up the last."""
    return jnp.moveaxis(in_chunks(xs, chunk), 1, -2)


def joined(chunks: _Chunks, num_steps: int) -> Array:
    """`[time, *batch, n]` of chunks, without what filled up the last."""
    steps = jnp.moveaxis(chunks, -2, 1)
    return steps.reshape(math.prod(steps.shape[:2]), *steps.shape[2:])[:num_steps]
