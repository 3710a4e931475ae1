"""Shared by all peers: carries of zeros, and the initialisers of their papers."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from .._types import AnyArray
from .._types import Hidden as Hidden
from .._types import Input as Input


class PeerCell(nnx.RNNCellBase):
    """A cell whose carry is one array, or a tuple of them; the first is its output.

    Args:
      in_features: d, numbers per input.
      hidden_features: D, hidden units.
    """

    widths: tuple[int, ...]  # of the arrays in the carry

    def __init__(self, in_features: int, hidden_features: int, num_states: int = 1):
        if in_features < 1 or hidden_features < 1:
            raise ValueError(
                f"expected features >= 1, got {in_features} inputs and {hidden_features} units"
            )
        self.in_features = in_features
        self.hidden_features = hidden_features
        self.widths = (hidden_features,) * num_states

    def initialize_carry(
        self,
        input_shape: tuple[int, ...],
        rngs: nnx.Rngs | nnx.RngStream | None = None,
        carry_init: Any = None,
    ) -> Any:
        """Zeros, or drawn by `carry_init`; `input_shape` is `[*batch, d]`, without time."""
        shapes = [(*input_shape[:-1], width) for width in self.widths]
        if carry_init is None:
            states = [jnp.zeros(shape) for shape in shapes]
        else:
            if rngs is None:
                raise ValueError("expected rngs together with carry_init, got None")
            draw = rngs.carry if isinstance(rngs, nnx.Rngs) else rngs
            states = [carry_init(draw(), shape, jnp.float32) for shape in shapes]
        return states[0] if len(states) == 1 else tuple(states)

    @property
    def num_feature_axes(self) -> int:
        return 1


def check_positive(**values: float) -> None:
    """ValueError unless all are > 0 and finite."""
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"expected {name} > 0, got {value}")


def check_not_negative(**values: float) -> None:
    """ValueError unless all are >= 0 and finite."""
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"expected {name} >= 0, got {value}")


def normal(rngs: nnx.Rngs, std: float, *shape: int) -> nnx.Param:
    """N(0, std^2)."""
    return nnx.Param(std * jax.random.normal(rngs.params(), shape))


def uniform(rngs: nnx.Rngs, low: float, high: float, *shape: int) -> nnx.Param:
    """U(low, high)."""
    return nnx.Param(jax.random.uniform(rngs.params(), shape, minval=low, maxval=high))


def constant(value: float, *shape: int) -> nnx.Param:
    return nnx.Param(jnp.full(shape, value))


def add(x: AnyArray, bias: nnx.Param) -> Array:
    """``x + bias``, the bias (or any parameter per unit) added to every sample."""
    return jnp.add(x, jnp.broadcast_to(bias[...], x.shape))


def times(x: AnyArray, scale: nnx.Param) -> Array:
    """``x scale``, with one parameter per unit or one for all."""
    return jnp.multiply(x, jnp.broadcast_to(scale[...], x.shape))
