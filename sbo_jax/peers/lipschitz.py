"""LipschitzRNN: an Euler step of an ODE whose linear part has a bounded symmetric part.

Source: Erichson et al. 2021 (arXiv 2006.12070), and the authors' code.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from .._checks import number
from ._cell import (
    Hidden,
    Input,
    PeerCell,
    add,
    check_not_negative,
    check_positive,
    constant,
    normal,
)


class LipschitzCell(PeerCell):
    """A linear and a bounded force.

        A = (1 - beta)(M + M^T) + beta (M - M^T) - gamma I,    W likewise from N
        h' = h + epsilon (h A + tanh(h W + x E + b))

    d D + 2 D^2 + D parameters. M, N ~ N(0, (std / D)^2), E ~ N(0, 1/d), b = 0.

    Args:
      in_features: d.
      hidden_features: D.
      epsilon: the step of Euler's method, > 0.
      beta: between symmetric (0) and antisymmetric (1).
      gamma: damping, >= 0.
      std: of M and N, times D.
      rngs: the stream `params`.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        epsilon: float = 0.03,
        beta: float = 0.75,
        gamma: float = 0.001,
        std: float = 0.1,
        rngs: nnx.Rngs,
    ):
        super().__init__(in_features, hidden_features)
        check_positive(epsilon=epsilon)
        check_not_negative(gamma=gamma, std=std)
        if not 0 <= number(beta) <= 1:
            raise ValueError(f"expected 0 <= beta <= 1, got {beta}")
        self.epsilon, self.beta, self.gamma = epsilon, beta, gamma
        square = (hidden_features, hidden_features)
        self.linear = normal(rngs, std / hidden_features, *square)
        self.recurrent = normal(rngs, std / hidden_features, *square)
        self.kernel = normal(rngs, in_features**-0.5, in_features, hidden_features)
        self.bias = constant(0.0, hidden_features)

    def matrix(self, m: nnx.Param) -> Float[Array, "hidden hidden"]:
        """A from M, or W from N."""
        mixed = (1 - self.beta) * (m[...] + m[...].T) + self.beta * (m[...] - m[...].T)
        return mixed - self.gamma * jnp.eye(self.hidden_features)

    def _step(self, carry: Hidden, inputs: Input) -> tuple[Hidden, Hidden]:
        h = carry
        bounded = jnp.tanh(
            add(h @ self.matrix(self.recurrent) + inputs @ self.kernel[...], self.bias)
        )
        h = h + self.epsilon * (h @ self.matrix(self.linear) + bounded)
        return h, h
