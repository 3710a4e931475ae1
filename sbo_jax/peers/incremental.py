"""iRNN: every input is followed to the equilibrium of an ODE, by a few steps of Euler's method.

Source: Kag et al., ICLR 2020 (RNNs incrementally evolving on an equilibrium manifold).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from .._checks import check_counts
from ._cell import Hidden, Input, PeerCell, add, check_positive, constant, normal


class IncrementalCell(PeerCell):
    """K steps from g = 0; h' = g after them, and dh'/dh = -I at the equilibrium.

        g <- g + eta_i (phi((g + h) U + x W + b) - alpha (g + h)),    i = 1..K

    d D + D^2 + D + K parameters. Weights N(0, 0.1^2), b = 0, eta = `eta`, trained per inner step:
    the authors also train one for every time step, which ties a model to a length.

    Args:
      in_features: d.
      hidden_features: D.
      inner_steps: K >= 1; the paper uses 1, 3 and 5.
      alpha: decay, > 0.
      eta: the inner step size at the start; the paper uses 1e-3 to 1e-2.
      phi: activation.
      rngs: the stream `params`.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        inner_steps: int = 5,
        alpha: float = 1.0,
        eta: float = 1e-2,
        phi: Callable[[jax.Array], jax.Array] = jax.nn.relu,
        rngs: nnx.Rngs,
    ):
        super().__init__(in_features, hidden_features)
        check_counts(inner_steps=inner_steps)
        check_positive(alpha=alpha, eta=eta)
        self.alpha, self.phi = alpha, phi
        self.kernel = normal(rngs, 0.1, in_features, hidden_features)
        self.recurrent = normal(rngs, 0.1, hidden_features, hidden_features)
        self.bias = constant(0.0, hidden_features)
        self.eta = constant(eta, inner_steps)

    def _step(self, carry: Hidden, inputs: Input) -> tuple[Hidden, Hidden]:
        drive = add(inputs @ self.kernel[...], self.bias)
        g = jnp.zeros_like(carry)
        for eta in self.eta[...]:
            at = g + carry
            g = g + eta * (self.phi(at @ self.recurrent[...] + drive) - self.alpha * at)
        return g, g
