"""AntisymmetricRNN: an Euler step of an ODE whose Jacobian has nearly imaginary eigenvalues.

Source: Chang et al. 2019 (arXiv 1902.09689).
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

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


class AntisymmetricCell(PeerCell):
    """``h' = h + epsilon tanh(h A + x V + b)``, A = W - W^T - gamma I.

    d D + D^2 + D parameters. V ~ N(0, 1/d), W ~ N(0, std^2 / D), b = 0.

    Args:
      in_features: d.
      hidden_features: D.
      epsilon: the step of Euler's method, > 0; the paper searches 0.01, 0.1, 1.
      gamma: diffusion, >= 0; the paper searches 0 to 0.1.
      std: of W times sqrt(D); the paper searches 0 to 16.
      rngs: the stream `params`.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        epsilon: float = 0.1,
        gamma: float = 0.01,
        std: float = 1.0,
        rngs: nnx.Rngs,
    ):
        super().__init__(in_features, hidden_features)
        check_positive(epsilon=epsilon)
        check_not_negative(gamma=gamma, std=std)
        self.epsilon, self.gamma = epsilon, gamma
        self.kernel = normal(rngs, in_features**-0.5, in_features, hidden_features)
        self.recurrent = normal(rngs, std * hidden_features**-0.5, hidden_features, hidden_features)
        self.bias = constant(0.0, hidden_features)

    def matrix(self) -> Float[Array, "hidden hidden"]:
        """A, such that h A drives the state."""
        w = self.recurrent[...]
        return w - w.T - self.gamma * jnp.eye(self.hidden_features)

    def _step(self, carry: Hidden, inputs: Input) -> tuple[Hidden, Hidden]:
        h = carry
        h = h + self.epsilon * jnp.tanh(
            add(h @ self.matrix() + inputs @ self.kernel[...], self.bias)
        )
        return h, h


class GatedAntisymmetricCell(AntisymmetricCell):
    """``h' = h + epsilon z tanh(h A + x V + b)``, z = s(h A + x V_z + b_z).

    2 d D + D^2 + 2 D parameters; the gate shares A. Arguments as in `AntisymmetricCell`.
    """

    def __init__(self, in_features: int, hidden_features: int, *, rngs: nnx.Rngs, **options: float):
        super().__init__(in_features, hidden_features, rngs=rngs, **options)
        self.gate_kernel = normal(rngs, in_features**-0.5, in_features, hidden_features)
        self.gate_bias = constant(0.0, hidden_features)

    def _step(self, carry: Hidden, inputs: Input) -> tuple[Hidden, Hidden]:
        h = carry
        through = h @ self.matrix()
        z = jax.nn.sigmoid(add(through + inputs @ self.gate_kernel[...], self.gate_bias))
        h = h + self.epsilon * z * jnp.tanh(add(through + inputs @ self.kernel[...], self.bias))
        return h, h
