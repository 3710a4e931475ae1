"""Layers called like `nnx.RNN`: what is the same whatever a layer reads by."""

from abc import abstractmethod
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.recurrent import flip_sequences
from jaxtyping import Array, Float, Int, Shaped

from .._checks import as_numbers, check_flags
from .._streams import Streams, as_streams
from .._types import MaskSequence, Size
from .validity import as_lengths, as_mask


class SequenceLayer(nnx.Module):
    """A layer called like `nnx.RNN`, whose outputs past the last valid step repeat it.

    Args:
      time_major, return_carry, reverse, keep_order: defaults of the call's arguments.
    """

    def __init__(self, *, time_major: bool, return_carry: bool, reverse: bool, keep_order: bool):
        self.time_major = time_major
        self.return_carry = return_carry
        self.reverse = reverse
        self.keep_order = keep_order

    @abstractmethod
    def initialize_carry(self, batch_shape: tuple[Size, ...]) -> Any:
        """What enters the first step: a tree of arrays with the batch axes in front."""

    @abstractmethod
    def _read(
        self,
        xs: Shaped[Array, "time *batch inputs"],
        valid: MaskSequence | None,
        initial_carry: Any,
        rngs: nnx.Rngs | nnx.RngStream | None,
    ) -> tuple[Any, Float[Array, "time *batch outputs"], Any]:
        """Carry, outputs and info, in the order in which the steps are read."""

    def __call__(
        self,
        inputs: Any,
        *,
        initial_carry: Any = None,
        seq_lengths: Any = None,
        mask: Any = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        rngs: Streams = None,
        return_info: bool = False,
    ) -> Any:
        """The outputs of every time step; with the carry if asked.

        Args:
          inputs: `[*batch, time, d]`, or `[time, *batch, d]` if `time_major`.
          initial_carry: as `initialize_carry` makes it, or the carry of an earlier call.
          seq_lengths: valid steps of each sample, counted from the start, 0 to T. Others raise
            ValueError, or are clipped where they are traced.
          mask: the shape of `inputs` without features; False skips a step, whatever its input.
            Not with `seq_lengths`.
          return_carry: return ``(carry, outputs)`` instead of the outputs.
          time_major: the time axis is the first axis.
          reverse: read the (valid part of the) sequence backwards.
          keep_order: with `reverse`, return outputs in the order of the inputs.
          rngs: streams or a key that dropout draws from, instead of its own stream.
          return_info: return ``(carry, outputs, infos)``, with one info per layer (`LowerInfo`,
            `ParallelInfo`), or None where it solves no equation. One that has time steps has
            them in the order in which they are read.
        """
        time_major = self.time_major if time_major is None else time_major
        reverse = self.reverse if reverse is None else reverse
        keep_order = self.keep_order if keep_order is None else keep_order
        check_flags(time_major=time_major, reverse=reverse, keep_order=keep_order)
        rngs = as_streams(rngs)
        inputs = as_numbers("inputs", inputs)
        if inputs.ndim < 2:
            raise ValueError(f"expected inputs [*batch, time, features], got shape {inputs.shape}")
        time_axis = 0 if time_major else inputs.ndim - 2
        xs = jnp.moveaxis(inputs, time_axis, 0)
        if seq_lengths is not None:
            seq_lengths = as_lengths(seq_lengths, xs.shape[1:-1], xs.shape[0])
        valid = as_mask(xs, seq_lengths, mask, time_axis)
        if valid is not None:  # a skipped input may be NaN, and its gradient would be 0 x NaN
            xs = jnp.where(valid[..., None], xs, jnp.zeros((), xs.dtype))
        if reverse:
            xs = _flip(xs, seq_lengths)
            if valid is not None and seq_lengths is None:
                valid = jnp.flip(valid, 0)
        carry, outputs, infos = self._read(xs, valid, initial_carry, rngs)
        if reverse and keep_order:
            outputs = _flip(outputs, seq_lengths)
        outputs = jnp.moveaxis(outputs, 0, time_axis)
        return_carry = self.return_carry if return_carry is None else return_carry
        if return_info:
            return carry, outputs, infos
        return (carry, outputs) if return_carry else outputs

    def last_state(self, inputs: Any, **options: Any) -> Float[Array, "*batch outputs"]:
        """The output after the last valid step; options as in the call."""
        time_major = options.get("time_major")
        time_major = self.time_major if time_major is None else time_major
        off = {"return_carry": False, "return_info": False, "keep_order": False}
        outputs = self(inputs, **options | off)
        if not outputs.shape[0 if time_major else -2]:
            raise ValueError("expected a step to read, got a sequence of none")
        return outputs[-1] if time_major else outputs[..., -1, :]


def _flip(
    xs: Shaped[Array, "time *batch features"], seq_lengths: Int[Array, "*batch"] | None
) -> jax.Array:
    """Reverse time; with lengths only the valid part, so that padding stays at the end."""
    return flip_sequences(xs, seq_lengths, num_batch_dims=xs.ndim - 2, time_major=True)
