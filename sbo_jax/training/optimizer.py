"""The optimiser of the parameters, where a run names no other."""

import math

import jax
import optax

from .._checks import in_float32
from .method import Params

_NOISE_DECAY = 0.55
# Told from the steps, which augmentations fold into the key of the same seed.
_NOISE_STREAM = 2**31


def default_optimizer(
    upper_rate: float,
    num_steps: int,
    clip: float = 1.0,
    *,
    warmup: int = 0,
    weight_decay: float = 0.0,
    noise: float = 0.0,
    seed: int = 0,
    eps_root: float = 0.0,
) -> optax.GradientTransformation:
    """Adam with a cosine schedule from `upper_rate` to 0, the gradient's global norm clipped.

    In the first `warmup` steps the rate rises linearly from 0 instead. Weight decay is decoupled
    (AdamW's) and moves matrices alone. The clipped gradient gets normal numbers of variance
    ``noise / t^0.55`` in step t, drawn from `seed` (Neelakantan et al. 2015). With ``eps_root > 0``
    it can be differentiated where a gradient is 0 as well.
    """
    if not 0 < in_float32(upper_rate) < math.inf:
        raise ValueError(f"expected an upper-level rate > 0, got {upper_rate:g}; try 5e-3")
    if not 0 < in_float32(clip) < math.inf:
        raise ValueError(f"expected a clipping norm > 0, got {clip:g}; try 1.0")
    if num_steps >= 2**31:
        raise ValueError(f"expected fewer than 2**31 steps in all, got {num_steps}; try 1 epoch")
    if not 0 <= warmup < num_steps:
        raise ValueError(f"expected 0 <= warmup < {num_steps} steps, got {warmup}; try 0")
    if not 0 <= in_float32(weight_decay) < math.inf:
        raise ValueError(f"expected a weight decay >= 0, got {weight_decay:g}; try 1e-2")
    if not 0 <= in_float32(noise) < math.inf:
        raise ValueError(f"expected a variance of noise >= 0, got {noise:g}; try 1e-3")
    schedule = optax.cosine_decay_schedule(upper_rate, num_steps)
    if warmup:
        schedule = optax.warmup_cosine_decay_schedule(0.0, upper_rate, warmup, num_steps)
    descent = optax.adam(schedule, eps_root=eps_root)
    if weight_decay:
        descent = optax.adamw(
            schedule, eps_root=eps_root, weight_decay=weight_decay, mask=are_matrices
        )
    if noise:
        key = jax.random.fold_in(jax.random.key(seed), _NOISE_STREAM)
        descent = optax.chain(optax.add_noise(noise, _NOISE_DECAY, key), descent)
    return optax.chain(optax.clip_by_global_norm(clip), descent)


def are_matrices(params: Params) -> Params:
    """Which parameters are matrices, and no bias, eta, mu or other number of a unit."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
