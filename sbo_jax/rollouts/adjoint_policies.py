"""What to do when the adjoint solve of an implicit gradient has not converged.

A policy is a hashable ``(w, info, matvec, v) -> w``; `keep`, the default, takes w as it is.
"""

import warnings
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from .._types import AnyArray, Hidden, LowerInfo
from ..linear_solvers import MatVec, Neumann


def warn(w: Hidden, info: LowerInfo, matvec: MatVec, v: Hidden) -> Hidden:
    """Keep w, and warn on the host with the number of failed samples and the largest residual."""
    jax.debug.callback(_warn_on_host, info.converged, info.value)
    return w


@dataclass(frozen=True)
class UnrolledGradient:
    """For samples that did not converge, the gradient of unrolled steps at h* instead.

    What back-propagation through `num_steps` steps of gradient descent of size eta gives, all taken
    at h*: a `Neumann` series. It is finite where ``eta ||H|| <= 2``, and biased.

    Args:
      eta: > 0, at most 1/L.
      num_steps: steps to look back.
    """

    eta: float
    num_steps: int

    def __post_init__(self) -> None:
        self._series()  # refuses what is out of range

    def __call__(self, w: Hidden, info: LowerInfo, matvec: MatVec, v: Hidden) -> Hidden:
        return jnp.where(info.converged[..., None], w, self._series()(matvec, v).x)

    def _series(self) -> Neumann:
        return Neumann(self.eta, self.num_steps)


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
