"""The state in which a layer ends its reading, whichever way it reads."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Shaped

from .._types import AnyArray
from .validity import as_lengths


def last_state(
    rnn: Any,
    inputs: Shaped[AnyArray, "batch time inputs"],
    *,
    seq_lengths: Any = None,
    **options: Any,
) -> Float[Array, "batch hidden"]:
    """The output after the last step that the layer reads.

    A layer that reads backwards ends at the first step. The halves of `nnx.Bidirectional` end at
    one end each, and are merged as it merges outputs.
    """
    if isinstance(rnn, nnx.Bidirectional):
        halves = ((rnn.forward_rnn, False), (rnn.backward_rnn, True))
        own = (
            last_state(half, inputs, seq_lengths=seq_lengths, **options | {"reverse": backwards})
            for half, backwards in halves
        )
        return rnn.merge_fn(*own)
    batch, num_steps = inputs.shape[:2]
    skips_padding = hasattr(rnn, "last_state")
    lengths = seq_lengths
    if seq_lengths is not None:
        lowest = 0 if skips_padding else 1
        lengths = as_lengths(seq_lengths, (batch,), num_steps, lowest=lowest)
    options |= {"seq_lengths": lengths, "time_major": False}
    if skips_padding:
        return rnn.last_state(inputs, **options)
    hs = rnn(inputs, return_carry=False, keep_order=False, **options)
    # A layer without a mask keeps reading past the end of a sequence.
    return hs[jnp.arange(batch), -1 if lengths is None else lengths - 1]
