"""Inputs of a layer, checked before they are read: features, lengths and masks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped

from .._checks import as_numbers, is_known
from .._types import AnyArray, MaskSequence, Size
from .._words import counted
from ..rollouts.reading import check_mask


def check_features(inputs: AnyArray, in_features: int) -> None:
    """ValueError unless the last axis of the inputs has so many features."""
    if inputs.shape[-1:] != (in_features,):
        raise ValueError(
            f"expected inputs with {counted(in_features, 'feature')} in the last axis, got "
            f"{inputs.shape[-1] if inputs.ndim else 'one number'}"
        )


def as_lengths(
    seq_lengths: Any, batch_shape: tuple[Size, ...], num_steps: Size, *, lowest: int = 0
) -> Int[Array, "*batch"]:
    """Valid steps of each sample, from `lowest` to `num_steps`; traced ones are clipped to that.

    Raises:
      ValueError: another shape, no whole numbers, or known ones outside this range.
    """
    try:
        lengths = seq_lengths if isinstance(seq_lengths, jax.Array) else np.asarray(seq_lengths)
    except ValueError as error:  # rows of unequal length
        raise ValueError(f"expected seq_lengths as an array, got {seq_lengths!r:.60}") from error
    if not np.issubdtype(lengths.dtype, np.integer):
        raise ValueError(f"expected seq_lengths as whole numbers, got {lengths.dtype}")
    if lengths.shape != batch_shape:
        raise ValueError(
            f"expected seq_lengths of the batch shape {batch_shape}, got {lengths.shape}"
        )
    if is_known(lengths):
        known = np.asarray(lengths)
        outside = known[(known < lowest) | (known > num_steps)]
        if outside.size:
            raise ValueError(
                f"expected seq_lengths from {lowest} to {num_steps}, the steps of the inputs, got "
                f"{outside[0]}"
            )
        lengths = known.astype(np.int32)
    if lengths.dtype.itemsize < 4:  # T may be more than such a type holds
        lengths = lengths.astype(jnp.int32)
    return jnp.clip(jnp.asarray(lengths), lowest, num_steps).astype(jnp.int32)


def as_mask(
    xs: Shaped[Array, "time *batch inputs"],
    seq_lengths: Int[Array, "*batch"] | None,
    mask: Any,
    time_axis: int,
) -> MaskSequence | None:
    """The time-major mask that `seq_lengths` or `mask` stand for; None where all steps count.

    Raises:
      ValueError: both, or a mask of another shape or type.
    """
    if seq_lengths is not None and mask is not None:
        raise ValueError("expected seq_lengths or mask, got both; a mask can express lengths")
    if seq_lengths is not None:
        steps = jnp.arange(xs.shape[0]).reshape(-1, *[1] * seq_lengths.ndim)
        return steps < seq_lengths[None]
    if mask is None:
        return None
    mask = jnp.asarray(as_numbers("mask", mask))
    expected = list(xs.shape[1:-1])
    expected.insert(time_axis, xs.shape[0])
    check_mask(mask, tuple(expected), "the inputs' shape without features")
    return jnp.moveaxis(mask, time_axis, 0)
