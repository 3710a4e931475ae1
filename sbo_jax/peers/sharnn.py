"""ShaRNN: two short recurrences in place of a long one.

Source: Dennis et al., NeurIPS 2019 (Shallow RNN: accurate time-series classification).
"""

import math
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Shaped

from .._types import AnyArray


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
        first: nnx.RNNCellBase,
        second: nnx.RNNCellBase,
        *,
        brick: int | None = None,
        rngs: nnx.Rngs | None = None,
    ):
        if brick is not None and brick < 1:
            raise ValueError(f"expected brick >= 1, got {brick}")
        stream = False if rngs is None else rngs
        self.first = nnx.RNN(first, rngs=stream)
        self.second = nnx.RNN(second, rngs=stream)
        self.brick = brick

    def __call__(
        self, inputs: Shaped[AnyArray, "*batch time inputs"], **options: Any
    ) -> Float[Array, "*batch bricks hidden"]:
        """R2's output after every brick; the options of `nnx.RNN` must be left at their defaults.

        Raises:
          ValueError: lengths, masks and the like, which bricks do not have; no time steps.
        """
        asked = [
            name for name, value in options.items() if value is not None and value is not False
        ]
        if asked:
            raise ValueError(f"expected sequences without {', '.join(asked)}: bricks have none")
        *batch, time, features = inputs.shape
        if time < 1:
            raise ValueError("expected one time step or more, got none")
        brick = self.brick or math.isqrt(time)
        widths = [(0, 0)] * len(batch) + [(-time % brick, 0), (0, 0)]
        bricks = jnp.pad(inputs, widths).reshape(-1, brick, features)
        read = self.first(bricks)[:, -1]
        read = read.reshape(math.prod(batch), -1, read.shape[-1])
        return self.second(read).reshape(*batch, read.shape[1], -1)
