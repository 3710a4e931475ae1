"""ShaRNN: two short recurrences in place of a long one.

Source: Dennis et al., NeurIPS 2019 (Shallow RNN: accurate time-series classification).
"""

import math
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from .._checks import as_numbers, check_counts
from .._streams import check_streams
from .._types import Size


class ShaRNN(nnx.Module):
    """``v_j = R1(brick_j)`` from a zero state, ``y = R2(v_1 .. v_J)``: latency T/J + J, not T.

    The sequence is cut into bricks of equal length, the first filled up with zeros before its
    beginning. All bricks are read at once, by the same R1.

    Args:
      first: R1, a cell of `nnx.RNN`.
      second: R2, a cell whose inputs are R1's outputs.
      brick: time steps of a brick, by default sqrt(T).
      rngs: for cells that draw their first state, as Flax's do, zeros included.
    """

    def __init__(
        self,
        first: Any,
        second: Any,
        *,
        brick: int | None = None,
        rngs: nnx.Rngs | None = None,
    ):
        for cell in (first, second):
            if not isinstance(cell, nnx.RNNCellBase):
                raise ValueError(f"expected cells of nnx.RNN, got {cell!r:.60}")
        if brick is not None:
            check_counts(brick=brick)
        stream = False if rngs is None else check_streams(rngs)
        self.first = nnx.RNN(first, rngs=stream)
        self.second = nnx.RNN(second, rngs=stream)
        self.brick = brick

    def __call__(
        self, inputs: Any, *, rngs: Any = None, **options: Any
    ) -> Float[Array, "*batch bricks hidden"]:
        """R2's output after every brick; other options of `nnx.RNN` must be left at their defaults.

        Raises:
          ValueError: lengths, masks and the like, which bricks do not have; no time steps.
        """
        asked = [
            name for name, value in options.items() if value is not None and value is not False
        ]
        if asked:
            raise ValueError(f"expected sequences without {', '.join(asked)}: bricks have none")
        inputs = as_numbers("inputs", inputs)
        if inputs.ndim < 2 or inputs.shape[-2] == 0:
            raise ValueError(
                f"expected inputs [*batch, time, features] with time >= 1, got shape {inputs.shape}"
            )
        *batch, time, features = inputs.shape
        brick = self.brick or _default_brick(time)
        count, samples = (time + brick - 1) // brick, math.prod(batch)
        widths = [(0, 0)] * len(batch) + [(count * brick - time, 0), (0, 0)]
        bricks = jnp.pad(inputs, widths).reshape(samples * count, brick, features)
        read = self.first(bricks, rngs=rngs)[:, -1]
        read = read.reshape(samples, count, read.shape[-1])
        states = self.second(read, rngs=rngs)
        return states.reshape(*batch, count, states.shape[-1])


def _default_brick(num_steps: Size) -> int:
    """sqrt(T), for the fewest steps one after another."""
    if not isinstance(num_steps, int):
        raise ValueError(
            f"expected a known number of time steps, or brick, got {num_steps} steps; try brick=16"
        )
    return math.isqrt(num_steps)
