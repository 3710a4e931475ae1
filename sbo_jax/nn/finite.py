"""A check of what a trained model is asked about: NaN has a most probable class as well."""

from typing import Any

import jax
import numpy as np

from .._checks import is_known


def check_finite_outputs(outputs: Any, seq_lengths: Any = None) -> None:
    """ValueError for the first sample whose outputs `[batch, k]` or `[batch, time, k]` are not.

    Of every step, only those within a sequence's length; tracers pass, as in `check_finite_steps`.
    """
    if not all(is_known(x) for x in (outputs, seq_lengths)):
        return
    wrong = ~np.isfinite(np.asarray(outputs)).all(axis=-1)
    if wrong.ndim == 2 and seq_lengths is not None:
        wrong &= np.arange(wrong.shape[1]) < np.asarray(seq_lengths)[:, None]
    if wrong.any():
        sample = int(np.argwhere(wrong)[0][0])
        raise ValueError(
            f"expected finite outputs, got others for sample {sample} (counted from 0); try inputs "
            f"scaled as in training, or look for a parameter that is not finite"
        )


def check_finite_steps(inputs: Any, seq_lengths: Any = None, mask: Any = None) -> None:
    """ValueError for the first number of inputs `[batch, time, d]` that is not finite.

    Steps past a sequence's length or under its mask are not read. Tracers pass, and so do arrays
    of which this process holds a part.
    """
    if not all(is_known(x) for x in (inputs, seq_lengths, mask)):
        return
    values = np.asarray(inputs)
    with np.errstate(over="ignore"):  # may be infinite in the type that the model computes in
        values = values.astype(jax.dtypes.canonicalize_dtype(values.dtype))
    wrong = ~np.isfinite(values)
    if mask is not None:
        wrong &= np.asarray(mask, bool)[..., None]
    if seq_lengths is not None:
        lengths = np.asarray(seq_lengths)[:, None, None]
        wrong &= np.arange(values.shape[1])[:, None] < lengths
    if wrong.any():
        sample, step, feature = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"expected finite inputs, got {values[sample, step, feature]} in sample {sample}, step "
            f"{step}, feature {feature} (counted from 0); try filling the gap, or a mask"
        )
