"""The GRU as PyTorch has it, with a bias inside the reset gate, which Flax's cell leaves out."""

import jax
import jax.numpy as jnp
from flax import nnx

from ._cell import Hidden, Input, PeerCell, add, uniform


class TorchGRUCell(PeerCell):
    """Gates r and z, candidate n, each with a bias on inputs and on the state.

        r = s(x W_r + b_r + h U_r + c_r),    z likewise
        n = tanh(x W_n + b_n + r (h U_n + c_n)),    h' = (1 - z) n + z h

    3 (d D + D^2 + 2 D) parameters, all U(-1/sqrt(D), 1/sqrt(D)). Source: Cho et al. 2014, and
    PyTorch. Arguments as in `PeerCell`; `rngs`: the stream `params`.
    """

    def __init__(self, in_features: int, hidden_features: int, *, rngs: nnx.Rngs):
        super().__init__(in_features, hidden_features)
        k = hidden_features**-0.5
        self.kernel = uniform(rngs, -k, k, in_features, 3 * hidden_features)
        self.recurrent = uniform(rngs, -k, k, hidden_features, 3 * hidden_features)
        self.bias = uniform(rngs, -k, k, 3 * hidden_features)
        self.recurrent_bias = uniform(rngs, -k, k, 3 * hidden_features)

    def _step(self, carry: Hidden, inputs: Input) -> tuple[Hidden, Hidden]:
        h = carry
        from_x = jnp.split(add(inputs @ self.kernel[...], self.bias), 3, axis=-1)
        from_h = jnp.split(add(h @ self.recurrent[...], self.recurrent_bias), 3, axis=-1)
        r, z = (jax.nn.sigmoid(x + h) for x, h in zip(from_x[:2], from_h[:2], strict=True))
        candidate = jnp.tanh(from_x[2] + r * from_h[2])
        h = (1 - z) * candidate + z * h
        return h, h
