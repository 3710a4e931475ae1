"""Shared by all peers: carries of zeros, and the initialisers of their papers."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from .._checks import as_numbers, check_counts, number
from .._streams import check_streams
from .._types import AnyArray, Size
from .._types import Hidden as Hidden
from .._types import Input as Input
from .._words import counted


class PeerCell(nnx.RNNCellBase):
    """A cell whose carry is one array, or a tuple of them; the first is its output.

    Args:
      in_features: d, numbers per input.
      hidden_features: D, hidden units.
    """

    widths: tuple[int, ...]  # of the arrays in the carry

    def __init__(self, in_features: int, hidden_features: int, num_states: int = 1):
        check_counts(in_features=in_features, hidden_features=hidden_features)
        self.in_features = in_features
        self.hidden_features = hidden_features
        self.widths = (hidden_features,) * num_states

    def __call__(self, carry: Any, inputs: Any) -> tuple[Any, Hidden]:
        inputs = as_numbers("inputs", inputs)
        if inputs.shape[-1:] != (self.in_features,):
            raise ValueError(
                f"expected inputs with {counted(self.in_features, 'feature')} in the last axis, "
                f"got shape {inputs.shape}"
            )
        self._check_carry(carry, inputs.shape[:-1])
        return self._step(carry, inputs)

    def _step(self, carry: Any, inputs: Input) -> tuple[Any, Hidden]:
        """The equation of the paper: the next carry, and the output, for arguments that fit."""
        raise NotImplementedError

    def _check_carry(self, carry: Any, batch_shape: tuple[Size, ...]) -> None:
        """ValueError unless it has the arrays that `initialize_carry` makes."""
        expected = [(*batch_shape, width) for width in self.widths]
        states = carry if isinstance(carry, tuple) else (carry,)
        if (
            isinstance(carry, tuple) != (len(expected) > 1)
            or [getattr(state, "shape", None) for state in states] != expected
            or not all(jnp.issubdtype(state.dtype, jnp.floating) for state in states)
        ):
            raise ValueError(
                f"expected a carry of floating-point numbers of shape "
                f"{' and '.join(map(str, expected))}, got {carry!r:.200}; try initialize_carry"
            )

    def initialize_carry(
        self,
        input_shape: tuple[Size, ...],
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


def params_key(rngs: Any) -> jax.Array:
    """The next key of the stream `params`; ValueError for a seed, or streams without it."""
    return check_streams(rngs, "params").params()


def check_positive(**values: float) -> None:
    """ValueError unless all are > 0 and finite."""
    for name, value in values.items():
        if not 0 < number(value) < math.inf:
            raise ValueError(f"expected {name} > 0, got {value}")


def check_not_negative(**values: float) -> None:
    """ValueError unless all are >= 0 and finite."""
    for name, value in values.items():
        if not 0 <= number(value) < math.inf:
            raise ValueError(f"expected {name} >= 0, got {value}")


def normal(rngs: nnx.Rngs, std: float, *shape: int) -> nnx.Param:
    """N(0, std^2)."""
    return nnx.Param(std * jax.random.normal(params_key(rngs), shape))


def uniform(rngs: nnx.Rngs, low: float, high: float, *shape: int) -> nnx.Param:
    """U(low, high)."""
    return nnx.Param(jax.random.uniform(params_key(rngs), shape, minval=low, maxval=high))


def constant(value: float, *shape: int) -> nnx.Param:
    # A Python number's weak type would become a strong one in training, which compiles twice then.
    return nnx.Param(jnp.full(shape, value, float))


def add(x: AnyArray, bias: nnx.Param) -> Array:
    """``x + bias``, the bias (or any parameter per unit) added to every sample."""
    return jnp.add(x, jnp.broadcast_to(bias[...], x.shape))


def times(x: AnyArray, scale: nnx.Param) -> Array:
    """``x scale``, with one parameter per unit or one for all."""
    return jnp.multiply(x, jnp.broadcast_to(scale[...], x.shape))
