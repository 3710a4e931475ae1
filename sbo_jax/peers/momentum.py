"""MomentumRNN: momentum on the input's part of a step.

The momentum of a lower level acts on the whole gradient instead.

Source: Nguyen et al. 2020 (arXiv 2006.06919), and the authors' code.
"""

from typing import TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from .._checks import number
from ._cell import Hidden, Input, PeerCell, add, check_positive, constant, params_key

Gates: TypeAlias = Float[Array, "*batch gates"]


def _check(mu: float, step: float) -> None:
    if not 0 <= number(mu) < 1:
        raise ValueError(f"expected 0 <= mu < 1, got {mu}")
    check_positive(step=step)


def _orthogonal(rngs: nnx.Rngs, rows: int, columns: int) -> nnx.Param:
    return nnx.Param(nnx.initializers.orthogonal()(params_key(rngs), (rows, columns)))


class MomentumCell(PeerCell):
    """``v' = mu v + s x W,    h' = tanh(h U + v' + b)``; the carry is (h, v).

    d D + D^2 + D parameters. W orthogonal, U = I, b = 0.

    Args:
      in_features: d.
      hidden_features: D.
      mu: momentum in [0, 1); 0.6 for MNIST.
      step: s > 0; 0.6 for MNIST.
      rngs: the stream `params`.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        mu: float = 0.6,
        step: float = 0.6,
        rngs: nnx.Rngs,
    ):
        super().__init__(in_features, hidden_features, num_states=2)
        _check(mu, step)
        self.mu, self.step = mu, step
        self.kernel = _orthogonal(rngs, in_features, hidden_features)
        self.recurrent = nnx.Param(jnp.eye(hidden_features))
        self.bias = constant(0.0, hidden_features)

    def _step(
        self, carry: tuple[Hidden, Hidden], inputs: Input
    ) -> tuple[tuple[Hidden, Hidden], Hidden]:
        h, v = carry
        v = self.mu * v + self.step * (inputs @ self.kernel[...])
        h = jnp.tanh(add(h @ self.recurrent[...] + v, self.bias))
        return (h, v), h


class MomentumLSTMCell(PeerCell):
    """An LSTM whose input map has momentum; the carry is (h, c, v).

        v' = mu v + s x W,    (i, f, g, o) = h U + v' + b
        c' = s(f) c + s(i) tanh(g),    h' = s(o) tanh(c')

    4 (d D + D^2 + D) parameters. W orthogonal, U of four identities, b = 0 but 1 for f. Arguments
    as in `MomentumCell`.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        mu: float = 0.6,
        step: float = 0.6,
        rngs: nnx.Rngs,
    ):
        super().__init__(in_features, hidden_features)
        self.widths = (hidden_features, hidden_features, 4 * hidden_features)
        _check(mu, step)
        self.mu, self.step = mu, step
        self.kernel = _orthogonal(rngs, in_features, 4 * hidden_features)
        self.recurrent = nnx.Param(jnp.tile(jnp.eye(hidden_features), (1, 4)))
        gates = jnp.zeros((4, hidden_features)).at[1].set(1)
        self.bias = nnx.Param(gates.reshape(-1))

    def _step(
        self, carry: tuple[Hidden, Hidden, Gates], inputs: Input
    ) -> tuple[tuple[Hidden, Hidden, Gates], Hidden]:
        h, c, v = carry
        v = self.mu * v + self.step * (inputs @ self.kernel[...])
        i, f, g, o = jnp.split(add(h @ self.recurrent[...] + v, self.bias), 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c, v), h
