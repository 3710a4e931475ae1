"""Gradient flow through any Flax cell or layer: SBO-RNN, an LSTM and a vanilla RNN side by side."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from .._checks import as_numbers
from .._types import LowerCarry, ScalarArray
from ..stability.flow import gradient_flow
from ..stability.steps import Step
from .carries import initial_carry as layer_carry
from .stepping import check_steps, resolve


def unit_readout(y: Array) -> ScalarArray:
    """``l = sum(y_T) / sqrt(D)``: a linear read-out with dl/dy_T of norm 1 in every sample."""
    return jnp.sum(y) / y.shape[-1] ** 0.5


def cell_step(cell: nnx.RNNCellBase) -> Step:
    """The cell as a pure ``step(carry, x) -> (carry, y)``, as `stability` takes it."""
    graphdef, state = nnx.split(cell)

    def step(carry: Any, x: Array) -> tuple[Any, Array]:
        return nnx.merge(graphdef, state, copy=True)(carry, x)

    return step


def cell_gradient_flow(
    cell: Any,
    xs: Any,
    loss: Callable[[Array], ScalarArray] = unit_readout,
    *,
    initial_carry: Any = None,
    select: Callable[[Any], Any] = lambda carry: carry,
    batch_axes: int = 0,
) -> Float[Array, "time *kept"]:
    """``||dl/dh_t||`` for t = 0..T-1, the carries that enter the steps, with ``l = loss(y_T)``.

    For any cell that `nnx.RNN` takes. The default loss does not depend on the size of y_T, so that
    curves of different cells share a scale: they show how far back the read-out still sees.

    Args:
      cell: left unchanged; one that draws random numbers draws the same ones in every step.
      xs: time-major inputs.
      loss: of the last output, all samples at once.
      initial_carry: by default the cell's own.
      select: the part of the carry to take the norm of, by default all: ``lambda carry: carry.h``
        is h of an `SBOCell`, ``lambda carry: carry[1]`` that of an LSTM.
      batch_axes: 0 gives one norm over the batch, 1 that of every sample.
    """
    if not isinstance(cell, nnx.RNNCellBase):
        raise ValueError(f"expected a cell of nnx.RNN, got {cell!r:.60}")
    xs = _at_least_two(xs)
    if initial_carry is None:
        initial_carry = cell.initialize_carry(xs.shape[1:], nnx.Rngs(0))
    return _flow(cell_step(cell), initial_carry, xs, loss, select, batch_axes)


def layer_gradient_flow(
    rnn: Any,
    xs: Any,
    loss: Callable[[Array], ScalarArray] = unit_readout,
    *,
    batch_axes: int = 0,
) -> Float[Array, "time *kept"]:
    """``||dl/dh_t||`` through a layer, as `cell_gradient_flow` has it through a cell.

    For `SBORNN`, one norm over all its layers, and any `nnx.RNN`. Of an SBO-RNN h_t is its hidden
    state alone, the solver's state of that time held fixed; of other cells all that they carry, the
    memory cell of an LSTM included. Dropout between layers is that of the layer's mode.

    Args:
      rnn: left unchanged.
      xs: time-major inputs, `[time, batch, d]`, without padding.
      loss: of the last output, all samples at once.
      batch_axes: 0 gives one norm over the batch, 1 that of every sample.

    Raises:
      ValueError: fewer than two time steps, or a layer that needs the whole sequence at once:
        `nnx.Bidirectional`, `ShaRNN`, one that reads backwards, a rollout that is not causal.
    """
    check_steps(rnn, "a layer that reads forwards with Unrolled")
    xs = _at_least_two(xs)
    rnn = nnx.clone(rnn)
    resolve(rnn)
    graphdef, state = nnx.split(rnn)

    def step(carry: Any, x: Array) -> tuple[Any, Array]:
        layer = nnx.merge(graphdef, state, copy=True)
        options = {"return_carry": True, "time_major": True}
        carry, ys = layer(x[None], initial_carry=carry, **options)
        return carry, ys[0]

    return _flow(step, layer_carry(rnn, *xs.shape[1:]), xs, loss, _hidden, batch_axes)


def _hidden(carry: Any) -> Any:
    """Of lower levels h alone, of other carries all."""

    def is_lower(part: Any) -> bool:
        return isinstance(part, LowerCarry)

    return jax.tree.map(lambda part: part.h if is_lower(part) else part, carry, is_leaf=is_lower)


def _at_least_two(xs: Any) -> Array:
    xs = jnp.atleast_1d(as_numbers("inputs", xs))
    if len(xs) < 2:
        raise ValueError(f"expected inputs of T >= 2 time steps, got T = {len(xs)}")
    return xs


def _flow(
    step: Step,
    carry: Any,
    xs: Array,
    loss: Callable[[Array], ScalarArray],
    select: Callable[[Any], Any],
    batch_axes: int,
) -> Float[Array, "time *kept"]:
    # y_T is a function of the carry before the last step; that step is part of the loss.
    return gradient_flow(
        step,
        carry,
        xs[:-1],
        lambda carry: loss(step(carry, xs[-1])[1]),
        select=select,
        batch_axes=batch_axes,
    )
