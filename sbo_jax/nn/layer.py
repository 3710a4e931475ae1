"""SBO-RNN over whole sequences: the drives of all time steps in one product, then `unroll`."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.recurrent import flip_sequences
from flax.typing import Dtype
from jaxtyping import Array, Float, Int, Shaped

from .._checks import as_numbers, check_counts, check_flags
from .._streams import check_streams
from .._types import HiddenSequence, LowerCarry, MaskSequence, Size
from .._varying import vary, varying_axes
from ..lower.level import STABLE, LowerLevel
from ..rollouts.reading import Reading, Rollout, RolloutInfo
from ..rollouts.unrolled import Unrolled
from .cell import SBOCell
from .dropout import dropout_or_none, dropped
from .validity import as_lengths, as_mask

_UNROLLED = Unrolled()


class SBORNN(nnx.Module):
    """``h_t = step(h_{t-1}, x_t V + b)`` over a sequence, in one or several layers.

    Called like `nnx.RNN`; computes what ``nnx.RNN(SBOCell(...))`` computes, with two differences:
    it takes a `mask`, and steps past `seq_lengths` leave the state untouched, so that outputs there
    repeat the last valid one. The carry is a tuple, one `LowerCarry` per layer.

    Args:
      in_features: d, numbers per time step.
      hidden_features: D, hidden units of every layer.
      num_layers: the hidden states of one layer are the inputs of the next.
      dropout: probability of dropping a number between one layer and the next.
      lower: energy, solver and hyper-parameters of every layer; see `PAPER` and `STABLE`.
      rollout: how the sequence is read and what is differentiated: `Unrolled` through all steps,
        `Parallel` over time, `Fused` into one GPU kernel, or implicitly, `SequenceEquilibrium`,
        `StepEquilibrium`, `Streamed`.
      time_major, return_carry, reverse, keep_order: defaults of the call's arguments.
      dtype: of matrix products, for example bfloat16; see `SBOCell`.
      param_dtype: of parameters and states.
      rngs: streams `params` and, with dropout, `dropout`.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int = 128,
        *,
        num_layers: int = 1,
        dropout: float = 0.0,
        lower: LowerLevel = STABLE,
        rollout: Rollout = _UNROLLED,
        time_major: bool = False,
        return_carry: bool = False,
        reverse: bool = False,
        keep_order: bool = False,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_counts(num_layers=num_layers)
        check_streams(rngs, "params")
        if isinstance(rollout, type) or not isinstance(rollout, Rollout):
            raise ValueError(f"expected a rollout like Unrolled(), got {rollout!r}")
        widths = [in_features] + [hidden_features] * num_layers
        self.cells = nnx.List(
            SBOCell(
                width,
                hidden_features,
                lower=lower,
                dtype=dtype,
                param_dtype=param_dtype,
                rngs=rngs,
            )
            for width in widths[:-1]
        )
        self.dropout = dropout_or_none(rngs, dropout=dropout)
        self.in_features = in_features
        self.hidden_features = hidden_features
        self.rollout = rollout
        self.time_major = time_major
        self.return_carry = return_carry
        self.reverse = reverse
        self.keep_order = keep_order

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
        rngs: nnx.Rngs | nnx.RngStream | None = None,
        return_info: bool = False,
    ) -> Any:
        """Hidden states of the last layer for every time step; with the carries if asked.

        Args:
          inputs: `[*batch, time, d]`, or `[time, *batch, d]` if `time_major`.
          initial_carry: one `LowerCarry` per layer; by default h_0 = 0.
          seq_lengths: valid steps of each sample, counted from the start, 0 to T; ValueError for
            others, which are clipped where they are traced.
          mask: the shape of `inputs` without features; False skips a step, whatever its input.
            Not with `seq_lengths`.
          return_carry: return ``(carries, hs)`` instead of hs.
          time_major: the time axis is the first axis.
          reverse: read the (valid part of the) sequence backwards.
          keep_order: with `reverse`, return outputs in the order of the inputs.
          rngs: the stream that dropout draws from, instead of its own.
          return_info: return ``(carries, hs, infos)``, with one info per layer (`LowerInfo`,
            `ParallelInfo`), or None where the rollout solves no equation.
        """
        time_major = self.time_major if time_major is None else time_major
        reverse = self.reverse if reverse is None else reverse
        keep_order = self.keep_order if keep_order is None else keep_order
        check_flags(time_major=time_major, reverse=reverse, keep_order=keep_order)
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
        carries, hs, infos = self._run(xs, valid, initial_carry, rngs)
        if reverse and keep_order:
            hs = _flip(hs, seq_lengths)
        hs = jnp.moveaxis(hs, 0, time_axis)
        return_carry = self.return_carry if return_carry is None else return_carry
        if return_info:
            return carries, hs, infos
        return (carries, hs) if return_carry else hs

    def initialize_carry(self, batch_shape: tuple[Size, ...]) -> tuple[LowerCarry, ...]:
        """One `LowerCarry` per layer, at h_0 = 0."""
        return tuple(cell.initialize_carry((*batch_shape, self.in_features)) for cell in self.cells)

    def last_state(self, inputs: Any, **options: Any) -> Float[Array, "*batch hidden"]:
        """The state after the last valid step, without keeping others; options as in the call."""
        carries, _ = self(inputs, **options | {"return_carry": True})
        return carries[-1].h

    def _run(
        self,
        xs: Shaped[Array, "time *batch inputs"],
        valid: MaskSequence | None,
        initial_carry: Any,
        rngs: nnx.Rngs | nnx.RngStream | None,
    ) -> tuple[tuple[LowerCarry, ...], HiddenSequence, tuple[RolloutInfo, ...]]:
        if initial_carry is None:
            initial_carry = self.initialize_carry(xs.shape[1:-1])
        given = initial_carry if isinstance(initial_carry, tuple | list) else ()
        if len(given) != len(self.cells) or not all(isinstance(c, LowerCarry) for c in given):
            raise ValueError(
                f"expected one carry for each of {len(self.cells)} layers, got {len(given)} in a "
                f"{type(initial_carry).__name__}; initialize_carry makes a LowerCarry for each"
            )
        carries, infos = [], []
        for layer, (cell, carry) in enumerate(zip(self.cells, initial_carry, strict=True)):
            if layer > 0:
                xs = dropped(self.dropout, xs, rngs)
            cell = _varying(cell, xs, carry)
            solver, theta = cell.lower_solver(self.rollout.damping), nnx.as_pure(cell.theta)
            carry = cell.check_carry(solver, carry, xs.shape[1:-1])
            reading = Reading(cell.problem, solver, carry, xs, theta, valid, cell.drive)
            carry, xs, info = self.rollout(reading)
            carries.append(carry)
            infos.append(info)
        return tuple(carries), xs, tuple(infos)


def _varying(cell: SBOCell, *data: Any) -> SBOCell:
    """The cell, its parameters cast once: JAX would sum the gradient of eta at every time step."""
    axes = varying_axes(data)
    if not axes:
        return cell
    graphdef, state = nnx.split(cell)
    return nnx.merge(graphdef, vary(state, axes))


def _flip(
    xs: Shaped[Array, "time *batch features"], seq_lengths: Int[Array, "*batch"] | None
) -> jax.Array:
    """Reverse time; with lengths only the valid part, so that padding stays at the end."""
    return flip_sequences(xs, seq_lengths, num_batch_dims=xs.ndim - 2, time_major=True)
