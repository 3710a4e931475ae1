"""How a gradient travels back through time: ``||dl/dh_t||`` for every t.

Adding a zero to the carry at every t changes nothing, and the derivative with respect to it is
dl/dh_t: one backward pass, for any recurrence.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._numerics import largest, smallest
from .._types import ScalarArray
from .._varying import as_varying, vary, varying_axes
from .steps import Step, num_time_steps, split_floats


def gradient_flow(
    step: Step,
    carry0: Any,
    xs: Any,
    loss: Callable[[Any], ScalarArray],
    *,
    select: Callable[[Any], Any] = lambda carry: carry,
    batch_axes: int = 0,
) -> Float[Array, "times *kept"]:
    """``||dl/dh_t||`` for t = 0..T, h_t the carry after t steps and ``l = loss(h_T)``.

    Where a carry has more parts than h, the derivative in one holds the others of time t fixed.
    Memory is that of the backward pass and two more carries per time step.

    Args:
      step: ``(carry, x) -> (carry, y)``.
      carry0: any pytree; leaves that are no floats are passed on untouched.
      xs: time-major inputs, a pytree.
      loss: of the last carry.
      select: the parts of the carry to take the norm of, as in ``lambda carry: carry.h``; by
        default all.
      batch_axes: leading axes of every selected leaf to keep: 0 gives the norm over the batch,
        `[T + 1]`, 1 that of every sample, `[T + 1, batch]`.
    """
    num_steps = num_time_steps(xs)
    carry0, xs = as_varying(carry0, xs)
    floats, join = split_floats(carry0)
    zeros = [jnp.zeros((num_steps + 1, *leaf.shape), leaf.dtype) for leaf in floats]

    def perturbed_step(carry: Any, inputs: Any) -> tuple[Any, None]:
        x, perturbation = inputs
        return step(_add(carry, perturbation), x)[0], None

    def perturbed_loss(perturbations: list[Array]) -> ScalarArray:
        before = [leaf[:-1] for leaf in perturbations]
        carry, _ = jax.lax.scan(perturbed_step, carry0, (xs, before))
        return loss(_add(carry, [leaf[-1] for leaf in perturbations]))

    axes = varying_axes(jax.eval_shape(perturbed_loss, zeros))  # the loss may close over samples
    carry0 = vary(carry0, axes)
    gradients = jax.grad(perturbed_loss)(vary(zeros, axes))
    return _norms(split_floats(select(join(gradients)))[0], 1 + batch_axes)


def flow_ratio(norms: Float[Array, "times *kept"]) -> Float[Array, "*kept"]:
    """``max_t / min_t`` of a gradient flow: 1 is even, inf means that it vanishes."""
    least = smallest(norms, axis=0)
    return jnp.where(least == 0, jnp.inf, largest(norms, axis=0) / least)


def _add(carry: Any, perturbation: list[Array]) -> Any:
    floats, join = split_floats(carry)
    return join([leaf + eps for leaf, eps in zip(floats, perturbation, strict=True)])


def _norms(leaves: list[Array], kept_axes: int) -> Float[Array, "times *kept"]:
    """The Euclidean norm over all but the leading axes, and over leaves."""
    if not leaves:
        raise ValueError("expected a part of the carry with numbers, got none; try another select")
    kept = leaves[0].shape[:kept_axes]
    if any(leaf.shape[:kept_axes] != kept for leaf in leaves) or len(kept) < kept_axes:
        raise ValueError(
            f"expected {kept_axes - 1} batch axes in front of every part of the carry, got shapes "
            f"{[leaf.shape[1:] for leaf in leaves]}; try batch_axes=0 or select=lambda carry: ..."
        )
    flat = jnp.concatenate([leaf.reshape(*kept, -1) for leaf in leaves], axis=-1)
    # Scaled: the squares of a vanishing gradient would underflow at its 1e-19, not at 1e-38.
    scale = largest(jnp.abs(flat), axis=-1, keepdims=True)
    safe = jnp.where((scale > 0) & jnp.isfinite(scale), scale, 1)
    norm = safe[..., 0] * jnp.linalg.norm(flat / safe, axis=-1)
    return jnp.where(jnp.isinf(scale[..., 0]), jnp.inf, norm)
