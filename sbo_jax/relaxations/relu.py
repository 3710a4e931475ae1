"""The networks that block coordinate descent can solve block by block."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import AnyArray, Hidden, HiddenSequence
from .network import Network, Outputs, Params


class Weights(NamedTuple):
    """``h_t = relu(h_{t-1} W + x_t V + b)`` and ``o = h_T C + c``, or any changes of these."""

    recurrent: Float[Array, "hidden hidden"]
    kernel: Float[Array, "inputs hidden"]
    bias: Float[Array, " hidden"]
    readout_kernel: Float[Array, "hidden outputs"]
    readout_bias: Float[Array, " outputs"]

    def preactivation(
        self, h: HiddenSequence | Hidden, x: Float[AnyArray, "..."]
    ) -> HiddenSequence | Hidden:
        """``h W + x V + b``."""
        z = h @ self.recurrent + x @ self.kernel
        return z + jnp.broadcast_to(self.bias, z.shape)

    def outputs(self, h: Hidden) -> Outputs:
        """``h C + c``."""
        o = h @ self.readout_kernel
        return o + jnp.broadcast_to(self.readout_bias, o.shape)


class ReLUNetwork(NamedTuple):
    """A vanilla ReLU network inside parameters of any structure.

    Args:
      functions: the same network, as `Network`.
      weights: ``params -> Weights``, W whole (`Dense` keeps W - I).
      moved: ``(params, change) -> params``, by a change of the weights.
      curvature: ``outputs -> c`` where the loss has a Hessian of at most c I in them.
    """

    functions: Network
    weights: Callable[[Params], Weights]
    moved: Callable[[Params, Weights], Params]
    curvature: Callable[[Outputs], float]
