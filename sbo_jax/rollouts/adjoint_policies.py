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
    """Replace w by the gradient of unrolled steps at h* in samples that did not converge.

    ``w_k = w_{k-1} + eta (v - H w_{k-1})``, w_0 = 0, a Neumann series: the result of
    back-propagation through `num_steps` gradient steps of size eta, all taken at h*. It is finite
    where ``eta ||H|| <= 2``; its relative bias is (1 - eta lambda)^num_steps along an eigenvector.

    Args:
      eta: > 0, at most 1/L.
      num_steps: terms of the series, >= 1.
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
