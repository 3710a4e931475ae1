"""The blocks of a vanilla ReLU network, each with its minimum in closed form.

With pre-activations z_t as variables of their own, mean over samples of

    l(h_T C + c, y) + sum_t gamma/2 ||h_t - relu(z_t)||^2
                    + sum_t gamma/2 ||z_t - (h_{t-1} W + x_t V + b)||^2

is minimised, backwards in t, over h_t (a linear system with one matrix for all t and samples) and
over z_t (the better of two parabolas, unit by unit), then over (W, V, b) in one ridge regression
that stacks all t, and over (C, c) in another. A loss that is not quadratic is replaced by the
parabola of curvature c above it. A proximal term holds each block near its last value, so that the
objective cannot rise: prox/2 ||. - old||^2 for states; for weights prox counts in units of the
regression's mean curvature, without which float32 fails if states are large.

Source: the splitting of Zeng, Lau et al. 2019, with W shared over t.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._numerics import with_exact_products
from .._types import AnyArray, Hidden, HiddenSequence
from .network import Average, Outputs, PerSample, before


class ReLUParameters(NamedTuple):
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


class Blocks(NamedTuple):
    """The variables: states, pre-activations, weights."""

    hs: HiddenSequence
    zs: HiddenSequence
    weights: ReLUParameters


class Splitting(NamedTuple):
    """The objective of one batch; ``curvature`` bounds the loss's Hessian in the outputs."""

    loss: Any
    curvature: float
    xs: Any
    targets: Any
    gamma: float
    prox: float

    def merit(self, blocks: Blocks) -> PerSample:
        """The objective of every sample, without proximal terms."""
        hs, zs, weights = blocks
        apart = hs - jax.nn.relu(zs), zs - weights.preactivation(before(hs), self.xs)
        coupling = sum(jnp.sum(r * r, axis=(0, -1)) for r in apart)
        return self.loss(weights.outputs(hs[-1]), self.targets) + 0.5 * self.gamma * coupling

    def slope(self, weights: ReLUParameters, h: Hidden) -> Float[Array, "batch outputs"]:
        """dl/do of every sample."""
        total = jax.grad(lambda o: jnp.sum(self.loss(o, self.targets)))
        return total(weights.outputs(h))


@with_exact_products
def update_blocks(
    splitting: Splitting, blocks: Blocks, average: Average = lambda tree: tree
) -> Blocks:
    """States and pre-activations for t = T..1, then the weights; the objective does not rise.

    Products are exact: with rounded ones a block would miss its minimum, and the objective rise.
    """
    blocks = update_states(splitting, blocks)
    return blocks._replace(weights=update_weights(splitting, blocks, average))


def update_states(splitting: Splitting, blocks: Blocks) -> Blocks:
    """h_t, then z_t, for t = T..1: each sees the new z_{t+1} and the old h_{t-1}."""
    hs, zs, weights = blocks
    drives = weights.preactivation(jnp.zeros_like(hs), splitting.xs)
    inner = _cholesky(weights.recurrent, splitting.gamma, splitting)
    h = minimising_last_state(splitting, weights, hs[-1], zs[-1])
    predicted = weights.preactivation(before(hs), splitting.xs)
    z = minimising_preactivation(splitting, h, predicted[-1], zs[-1])

    def body(z_next: Hidden, inputs: Any) -> tuple[Hidden, tuple[Hidden, Hidden]]:
        h, z, drive_next, predicted = inputs
        pull = (z_next - drive_next) @ weights.recurrent.T
        wanted = splitting.gamma * (jax.nn.relu(z) + pull) + splitting.prox * h
        h = _solve(inner, wanted)
        z = minimising_preactivation(splitting, h, predicted, z)
        return z, (h, z)

    earlier = hs[:-1], zs[:-1], drives[1:], predicted[:-1]
    _, (hs, zs) = jax.lax.scan(body, z, earlier, reverse=True)
    return Blocks(jnp.concatenate([hs, h[None]]), jnp.concatenate([zs, z[None]]), weights)


def minimising_last_state(
    splitting: Splitting, weights: ReLUParameters, h: Hidden, z: Hidden
) -> Hidden:
    """``argmin_h g.o(h) + c/2 ||o(h) - o||^2 + gamma/2 ||h - relu(z)||^2``, g the slope at o."""
    matrix = _cholesky(weights.readout_kernel, splitting.curvature, splitting)
    slope = splitting.slope(weights, h)
    pull = splitting.gamma * (jax.nn.relu(z) - h) - slope @ weights.readout_kernel.T
    return h + _solve(matrix, pull)


def minimising_preactivation(
    splitting: Splitting, h: Hidden, predicted: Hidden, z: Hidden
) -> Hidden:
    """``argmin_u gamma/2 (h - relu(u))^2 + gamma/2 (u - predicted)^2``, for every unit."""
    gamma, prox = splitting.gamma, splitting.prox
    pull = gamma * predicted + prox * z
    negative = jnp.minimum(pull / (gamma + prox), 0)
    positive = jnp.maximum((gamma * h + pull) / (2 * gamma + prox), 0)

    def value(u: Hidden) -> Hidden:
        apart = (h - jax.nn.relu(u)) ** 2 + (u - predicted) ** 2
        return gamma * apart + prox * (u - z) ** 2

    return jnp.where(value(positive) < value(negative), positive, negative)


def update_weights(
    splitting: Splitting, blocks: Blocks, average: Average = lambda tree: tree
) -> ReLUParameters:
    """Both ridge regressions: (W, V, b) on all time steps, (C, c) on the last."""
    hs, zs, weights = blocks
    predictors = jnp.concatenate([before(hs), splitting.xs, jnp.ones_like(hs[..., :1])], axis=-1)
    wanted = zs - weights.preactivation(before(hs), splitting.xs)
    cell = _ridge(splitting, predictors, splitting.gamma * wanted, splitting.gamma, average)
    last = jnp.concatenate([hs[-1], jnp.ones_like(hs[-1, :, :1])], axis=-1)
    pull = -splitting.slope(weights, hs[-1])
    head = _ridge(splitting, last[None], pull[None], splitting.curvature, average)
    num_units = hs.shape[-1]
    change = ReLUParameters(
        cell[:num_units], cell[num_units:-1], cell[-1], head[:num_units], head[num_units]
    )
    return jax.tree.map(jnp.add, weights, change)


def _ridge(
    splitting: Splitting, x: Array, pull: Array, curvature: float, average: Average
) -> Float[Array, "features targets"]:
    """``argmin_D`` of the mean of ``-pull.(x D) + curvature/2 ||x D||^2`` and the proximal term."""
    num_samples = x.shape[1]
    x, pull = x.reshape(-1, x.shape[-1]), pull.reshape(-1, pull.shape[-1])
    gram, moment = average((x.T @ x / num_samples, x.T @ pull / num_samples))
    identity = jnp.eye(len(gram), dtype=gram.dtype)
    matrix = curvature * (gram + splitting.prox * jnp.mean(jnp.diag(gram)) * identity)
    return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(matrix), True), moment)


def _cholesky(w: Array, curvature: float, splitting: Splitting) -> Array:
    """The Cholesky factor of ``(gamma + prox) I + curvature W W'``."""
    identity = jnp.eye(len(w), dtype=w.dtype)
    matrix = (splitting.gamma + splitting.prox) * identity + curvature * (w @ w.T)
    return jnp.linalg.cholesky(matrix)


def _solve(cholesky: Array, rows: Hidden) -> Hidden:
    return jax.scipy.linalg.cho_solve((cholesky, True), rows.T).T
