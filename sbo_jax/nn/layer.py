"""SBO-RNN over whole sequences: the drives of all time steps in one product, then `unroll`."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype
from jaxtyping import Array, Float, Shaped

from .._checks import check_counts
from .._streams import check_streams
from .._types import HiddenSequence, LowerCarry, MaskSequence, Size
from .._varying import vary, varying_axes
from .._words import counted
from ..lower.level import STABLE, LowerLevel
from ..rollouts.reading import Reading, Rollout, RolloutInfo
from ..rollouts.unrolled import Unrolled
from .cell import SBOCell
from .dropout import dropout_or_none, dropped
from .sequences import SequenceLayer

_UNROLLED = Unrolled()


class SBORNN(SequenceLayer):
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
        super().__init__(
            time_major=time_major,
            return_carry=return_carry,
            reverse=reverse,
            keep_order=keep_order,
        )
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

    def initialize_carry(self, batch_shape: tuple[Size, ...]) -> tuple[LowerCarry, ...]:
        """One `LowerCarry` per layer, at h_0 = 0."""
        return tuple(cell.initialize_carry((*batch_shape, self.in_features)) for cell in self.cells)

    def last_state(self, inputs: Any, **options: Any) -> Float[Array, "*batch hidden"]:
        """The state after the last valid step, without keeping others; options as in the call."""
        carries, _ = self(inputs, **options | {"return_carry": True, "return_info": False})
        return carries[-1].h

    def _read(
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
                f"expected one carry for each of {counted(len(self.cells), 'layer')}, got "
                f"{len(given)} in a {type(initial_carry).__name__}; initialize_carry makes a "
                f"LowerCarry for each"
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
