"""What to do when the adjoint solve of an implicit gradient has not converged.

A policy is a hashable ``(w, info, matvec, v) -> w``; `keep`, the default, takes w as it is.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._types import AnyArray, Hidden, LowerInfo
from ..linear_solvers import MatVec


def warn(w: Hidden, info: LowerInfo, matvec: MatVec, v: Hidden) -> Hidden:
    """Keep w, and warn on the host with the number of failed samples and the largest residual."""
    jax.debug.callback(_warn_on_host, info.converged, info.value)
    return w


@dataclass(frozen=True)
class UnrolledGradient:
    """For samples that did not converge, the gradient of unrolled steps at h* instead.

    ``w_k = w_{k-1} + eta (v - H w_{k-1})``, w_0 = 0: what back-propagation through `num_steps`
    steps of gradient descent of size eta, all taken at h*, gives (a Neumann series). It is finite
    where ``eta ||H|| <= 2``, and biased by (1 - eta lambda)^num_steps in each direction of H.

    Args:
      eta: > 0, at most 1/L.
      num_steps: steps to look back.
    """

    eta: float
    num_steps: int

    def __post_init__(self) -> None:
        if not (self.eta > 0 and self.num_steps >= 1):
            raise ValueError(f"expected eta > 0 and num_steps >= 1, got {self}")

    def __call__(self, w: Hidden, info: LowerInfo, matvec: MatVec, v: Hidden) -> Hidden:
        def step(_: Any, w: Hidden) -> Hidden:
            return w + self.eta * (v - matvec(w))

        unrolled = jax.lax.fori_loop(0, self.num_steps, step, jnp.zeros_like(v))
        return jnp.where(info.converged[..., None], w, unrolled)


def _warn_on_host(converged: AnyArray, relative_residual: AnyArray) -> None:
    failed = int(np.size(converged) - np.sum(converged))
    if failed:
        warnings.warn(
            f"the adjoint solve of {failed} of {np.size(converged)} samples did not converge "
            f"(largest relative residual {np.max(relative_residual):.2g}): their implicit gradient "
            f"is inexact; add damping or linear solver steps",
            RuntimeWarning,
            stacklevel=2,
        )
