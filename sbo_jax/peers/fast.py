"""FastRNN and FastGRNN: a weighted residual connection, and a gate of the same weights.

Source: Kusupati et al. 2018 (arXiv 1901.02358), eqs. 2 and 6; initial values of the authors' code.
"""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from .._checks import check_counts
from ._cell import Hidden, Input, PeerCell, add, constant, normal

_STD = 0.1


class FastRNNCell(PeerCell):
    """``h' = alpha tanh(x W + h U + b) + beta h``, alpha = s(-3), beta = s(3) at the start.

    d D + D^2 + D + 2 parameters. s is the logistic function. Arguments as in `PeerCell`; `rngs`:
    the stream `params`.
    """

    def __init__(self, in_features: int, hidden_features: int, *, rngs: nnx.Rngs):
        super().__init__(in_features, hidden_features)
        self.kernel = normal(rngs, _STD, in_features, hidden_features)
        self.recurrent = normal(rngs, _STD, hidden_features, hidden_features)
        self.bias = constant(1.0, hidden_features)
        self.alpha = constant(-3.0)
        self.beta = constant(3.0)

    def _step(self, carry: Hidden, inputs: Input) -> tuple[Hidden, Hidden]:
        h = carry
        candidate = jnp.tanh(add(inputs @ self.kernel[...] + h @ self.recurrent[...], self.bias))
        alpha, beta = jax.nn.sigmoid(self.alpha[...]), jax.nn.sigmoid(self.beta[...])
        h = alpha * candidate + beta * h
        return h, h


class FastGRNNCell(PeerCell):
    """One product for gate and candidate, of full or low rank.

        p = x W + h U,    z = s(p + b_z),    c = tanh(p + b_h)
        h' = (zeta (1 - z) + nu) c + z h,    zeta = s(1), nu = s(-4) at the start

    d D + D^2 + 2 D + 2 parameters; with ranks, W = W1 W2 and U = U1 U2.

    Args:
      in_features: d.
      hidden_features: D.
      kernel_rank: of W, None for full.
      recurrent_rank: of U, None for full.
      rngs: the stream `params`.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        kernel_rank: int | None = None,
        recurrent_rank: int | None = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(in_features, hidden_features)
        self.kernel = _factors(rngs, in_features, hidden_features, kernel_rank)
        self.recurrent = _factors(rngs, hidden_features, hidden_features, recurrent_rank)
        self.gate_bias = constant(1.0, hidden_features)
        self.bias = constant(1.0, hidden_features)
        self.zeta = constant(1.0)
        self.nu = constant(-4.0)

    def _step(self, carry: Hidden, inputs: Input) -> tuple[Hidden, Hidden]:
        h = carry
        p = _through(jnp.asarray(inputs), self.kernel) + _through(h, self.recurrent)
        z = jax.nn.sigmoid(add(p, self.gate_bias))
        candidate = jnp.tanh(add(p, self.bias))
        zeta, nu = jax.nn.sigmoid(self.zeta[...]), jax.nn.sigmoid(self.nu[...])
        h = (zeta * (1 - z) + nu) * candidate + z * h
        return h, h


def _factors(rngs: nnx.Rngs, rows: int, columns: int, rank: int | None) -> Any:
    if rank is None:
        return nnx.List([normal(rngs, _STD, rows, columns)])
    check_counts(rank=rank)
    if rank > min(rows, columns):
        raise ValueError(f"expected rank <= {min(rows, columns)}, got {rank}")
    return nnx.List([normal(rngs, _STD, rows, rank), normal(rngs, _STD, rank, columns)])


def _through(x: Array, factors: Iterable[nnx.Param]) -> Array:
    for factor in factors:
        x = x @ factor[...]
    return x
