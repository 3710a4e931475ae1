"""coRNN and UnICORNN: units are damped oscillators that the input drives.

Sources: Rusch and Mishra 2021 (arXiv 2010.00951; arXiv 2103.05487), and the authors' code.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from ._cell import Hidden, Input, PeerCell, add, check_not_negative, check_positive, times, uniform

Oscillation = tuple[Hidden, Hidden]


class CoupledOscillatoryCell(PeerCell):
    """Positions y and velocities z of coupled oscillators; the carry is (y, z).

        z' = z + dt (tanh(y W + z W_z + x V + b) - gamma y - epsilon z),    y' = y + dt z'

    d D + 2 D^2 + D parameters, all U(-k, k) with k = 1/sqrt(d + 2 D).

    Args:
      in_features: d.
      hidden_features: D.
      dt: time step, > 0.
      gamma: stiffness, > 0.
      epsilon: damping, > 0. The defaults are those of HAR-2.
      rngs: the stream `params`.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        dt: float = 0.1,
        gamma: float = 0.2,
        epsilon: float = 6.4,
        rngs: nnx.Rngs,
    ):
        super().__init__(in_features, hidden_features, num_states=2)
        check_positive(dt=dt, gamma=gamma, epsilon=epsilon)
        self.dt, self.gamma, self.epsilon = dt, gamma, epsilon
        k = (in_features + 2 * hidden_features) ** -0.5
        self.kernel = uniform(rngs, -k, k, in_features, hidden_features)
        self.recurrent = uniform(rngs, -k, k, hidden_features, hidden_features)
        self.velocity = uniform(rngs, -k, k, hidden_features, hidden_features)
        self.bias = uniform(rngs, -k, k, hidden_features)

    def _step(self, carry: Oscillation, inputs: Input) -> tuple[Oscillation, Hidden]:
        y, z = carry
        mixed = y @ self.recurrent[...] + z @ self.velocity[...] + inputs @ self.kernel[...]
        force = jnp.tanh(add(mixed, self.bias)) - self.gamma * y - self.epsilon * z
        z = z + self.dt * force
        y = y + self.dt * z
        return (y, z), y


class UndampedOscillatoryCell(PeerCell):
    """Oscillators that do not see one another, each with a time step of its own; carry (y, z).

        z' = z - dt s(c) (tanh(w y + x V + b) + alpha y),    y' = y + dt s(c) z'

    d D + 3 D parameters. w ~ U(0, 1), c ~ U(-0.1, 0.1), V and b ~ U(-1/sqrt(d), 1/sqrt(d)). The
    step can be inverted exactly on paper. The authors stack three layers.

    Args:
      in_features: d.
      hidden_features: D.
      dt: time step, > 0.
      alpha: stiffness, >= 0. The defaults are those of permuted MNIST.
      rngs: the stream `params`.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        dt: float = 0.19,
        alpha: float = 30.65,
        rngs: nnx.Rngs,
    ):
        super().__init__(in_features, hidden_features, num_states=2)
        check_positive(dt=dt)
        check_not_negative(alpha=alpha)
        self.dt, self.alpha = dt, alpha
        k = in_features**-0.5
        self.kernel = uniform(rngs, -k, k, in_features, hidden_features)
        self.bias = uniform(rngs, -k, k, hidden_features)
        self.recurrent = uniform(rngs, 0.0, 1.0, hidden_features)
        self.pace = uniform(rngs, -0.1, 0.1, hidden_features)

    def _step(self, carry: Oscillation, inputs: Input) -> tuple[Oscillation, Hidden]:
        y, z = carry
        pull = jnp.tanh(add(inputs @ self.kernel[...] + times(y, self.recurrent), self.bias))
        dt = jnp.broadcast_to(self.dt * jax.nn.sigmoid(self.pace[...]), y.shape)
        z = z - dt * (pull + self.alpha * y)
        y = y + dt * z
        return (y, z), y
