"""The states that a layer reads a sequence into, whichever way it reads: the last, or all."""

import inspect
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Shaped

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
    _check_mask(rnn, options)
    if isinstance(rnn, nnx.Bidirectional):
        return _merged(last_state, rnn, inputs, seq_lengths=seq_lengths, **options)
    lengths = _lengths(rnn, inputs, seq_lengths)
    options |= {"seq_lengths": lengths, "time_major": False}
    if _skips_padding(rnn):
        return rnn.last_state(inputs, **options)
    hs = rnn(inputs, return_carry=False, keep_order=False, **options)
    # A layer without a mask keeps reading past the end of a sequence.
    return hs[jnp.arange(inputs.shape[0]), -1 if lengths is None else lengths - 1]


def all_states(
    rnn: Any,
    inputs: Shaped[AnyArray, "batch time inputs"],
    *,
    seq_lengths: Any = None,
    **options: Any,
) -> Float[Array, "batch time hidden"]:
    """The outputs at all steps, in the order of the inputs, whichever way the layer reads them."""
    _check_mask(rnn, options)
    if isinstance(rnn, nnx.Bidirectional):
        return _merged(all_states, rnn, inputs, seq_lengths=seq_lengths, **options)
    lengths = _lengths(rnn, inputs, seq_lengths)
    options |= {"seq_lengths": lengths, "time_major": False}
    return rnn(inputs, return_carry=False, keep_order=True, **options)


def _merged(
    states: Callable[..., Array], rnn: nnx.Bidirectional, inputs: AnyArray, **options: Any
) -> Array:
    """The states of both halves, merged as it merges outputs."""
    ahead = states(rnn.forward_rnn, inputs, **options | {"reverse": False})
    return rnn.merge_fn(ahead, states(rnn.backward_rnn, inputs, **options | {"reverse": True}))


def _check_mask(rnn: Any, options: dict[str, Any]) -> None:
    """ValueError for a mask where the layer takes none; each half of a pair is asked itself."""
    if "mask" not in options or isinstance(rnn, nnx.Bidirectional):
        return
    parameters = inspect.signature(rnn).parameters.values()
    if not any(p.name == "mask" or p.kind is p.VAR_KEYWORD for p in parameters):
        raise ValueError(
            f"expected a layer that takes a mask, as SBORNN does, got {type(rnn).__name__}; try "
            f"seq_lengths"
        )


def _lengths(
    rnn: Any, inputs: Shaped[AnyArray, "batch time inputs"], seq_lengths: Any
) -> Int[Array, " batch"] | None:
    if seq_lengths is None:
        return None
    batch, num_steps = inputs.shape[:2]
    return as_lengths(seq_lengths, (batch,), num_steps, lowest=0 if _skips_padding(rnn) else 1)


def _skips_padding(rnn: Any) -> bool:
    return hasattr(rnn, "last_state")
