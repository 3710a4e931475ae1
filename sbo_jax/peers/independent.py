"""IndRNN: units that see only themselves, between matrix products over the inputs.

Source: Li et al. 2018 (arXiv 1803.04831).
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from .._checks import check_counts
from ._cell import Hidden, Input, PeerCell, add, constant, normal, uniform


class IndependentCell(PeerCell):
    """``h' = relu(x W + u h + b), |u| <= 2^(1/T)``.

    d D + 2 D parameters. u ~ U(0, 2^(1/T)), W ~ N(0, 1/d), b = 0. The authors clip u after every
    update; here it is clipped where it is used, and its gradient is cut where it leads further out.

    Args:
      in_features: d.
      hidden_features: D.
      length: T, the time steps that a gradient should survive.
      rngs: the stream `params`.
    """

    def __init__(
        self, in_features: int, hidden_features: int, *, length: int = 100, rngs: nnx.Rngs
    ):
        super().__init__(in_features, hidden_features)
        check_counts(length=length)
        self.limit = 2 ** (1 / length)
        self.kernel = normal(rngs, in_features**-0.5, in_features, hidden_features)
        self.recurrent = uniform(rngs, 0.0, self.limit, hidden_features)
        self.bias = constant(0.0, hidden_features)

    def _step(self, carry: Hidden, inputs: Input) -> tuple[Hidden, Hidden]:
        u = _clip(self.limit, self.recurrent[...])
        own = carry * jnp.broadcast_to(u, carry.shape)
        h = jax.nn.relu(add(inputs @ self.kernel[...] + own, self.bias))
        return h, h


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _clip(limit: float, u: jax.Array) -> jax.Array:
    """`u` clipped; with the zero gradient of `jnp.clip` a u outside could never come back."""
    return jnp.clip(u, -limit, limit)


def _forward(limit: float, u: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _clip(limit, u), u


def _backward(limit: float, u: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    """Cut the gradient where descent, against its sign, would lead a u outside further out."""
    leads_out = (jnp.abs(u) > limit) & (u * gradient < 0)
    return (jnp.where(leads_out, 0, gradient),)


_clip.defvjp(_forward, _backward)
