"""LEM: two states, each with learned time steps of its own.

Source: Rusch et al. 2022, Long expressive memory (arXiv 2110.04744).
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from ._cell import Hidden, Input, PeerCell, check_positive, uniform


class LEMCell(PeerCell):
    """A fast state z under a slow state y; the carry is (y, z).

        d1 = dt s(y W_1 + x V_1 + b_1),    d2 = dt s(y W_2 + x V_2 + b_2)
        z' = (1 - d1) z + d1 tanh(y W_z + x V_z + b_z)
        y' = (1 - d2) y + d2 tanh(z' W_y + x V_y + b_y)

    4 (d D + D^2 + D) parameters, all U(-1/sqrt(D), 1/sqrt(D)).

    Args:
      in_features: d.
      hidden_features: D.
      dt: the longest time step, > 0; 0.21 for pixel MNIST.
      rngs: the stream `params`.
    """

    def __init__(self, in_features: int, hidden_features: int, *, dt: float = 1.0, rngs: nnx.Rngs):
        super().__init__(in_features, hidden_features, num_states=2)
        check_positive(dt=dt)
        self.dt = dt
        k = hidden_features**-0.5
        # The maps into d1, d2, z and y, side by side.
        self.kernel = uniform(rngs, -k, k, in_features, 4 * hidden_features)
        self.bias = uniform(rngs, -k, k, 4 * hidden_features)
        self.recurrent = uniform(rngs, -k, k, hidden_features, 3 * hidden_features)
        self.recurrent_y = uniform(rngs, -k, k, hidden_features, hidden_features)

    def _step(
        self, carry: tuple[Hidden, Hidden], inputs: Input
    ) -> tuple[tuple[Hidden, Hidden], Hidden]:
        y, z = carry
        drive = inputs @ self.kernel[...]
        drive = drive + jnp.broadcast_to(self.bias[...], drive.shape)
        *from_y, drive_y = jnp.split(drive, 4, axis=-1)
        first, second, candidate = (
            own + part
            for own, part in zip(jnp.split(y @ self.recurrent[...], 3, -1), from_y, strict=True)
        )
        z = _towards(z, self.dt * jax.nn.sigmoid(first), jnp.tanh(candidate))
        y = _towards(
            y, self.dt * jax.nn.sigmoid(second), jnp.tanh(z @ self.recurrent_y[...] + drive_y)
        )
        return (y, z), y


def _towards(state: Hidden, step: Hidden, goal: Hidden) -> Float[Array, "*batch hidden"]:
    return (1 - step) * state + step * goal
