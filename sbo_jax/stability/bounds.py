"""How large a step may be: bounds on dh_T/dh_0 that need no data.

A gradient step has the Jacobian ``J_t = I - eta H_t``, H_t the Hessian of F at h_{t-1}, x_t. For a
piecewise linear activation H_t = (alpha I - W D)(alpha I - W D)^T, whose eigenvalues lie in [0, L];
those of the symmetric J_t lie in [1 - eta L, 1]. Norms of products are at most products of norms:

* eta L <= 2:  no J_t expands, and so no product does: ||dh_T/dh_0|| <= 1;
* eta L <= 1:  no J_t reverses a direction either, and every singular value of dh_T/dh_0 is at
  least (1 - eta L)^T, the *floor*;
* eta L > 2:   the only bound is (eta L - 1)^T.

With one eta per unit, P = diag(eta), ``J_t = I - P H_t`` is similar to ``I - P^(1/2) H_t P^(1/2)``,
symmetric with eigenvalues in [1 - max(eta) L, 1], by the same P for every t. All three statements
hold with max(eta) for eta in the norm ``x^T P^-1 x`` of states and ``g^T P g`` of gradients; the
change to the Euclidean norm costs a factor sqrt(max(eta) / min(eta)), once and not per step.

Limits. At a kink of the activation no Jacobian exists and grad F jumps, so two sequences of states
may move apart although no Jacobian expands. The gradient in theta, a sum over t, is not bounded.
For momentum see `momentum`. T counts lower-level steps: time steps times steps per input.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from .._types import Hyperparameter, ScalarArray
from ..lower.hyperparameters import check_ranges


class EtaBounds(NamedTuple):
    """Step sizes of gradient descent that are safe for a scalar eta or, per unit, its maximum.

    Args:
      smoothness: L.
      non_expanding: 2 / L, the largest eta at which ||dh_T/dh_0|| <= 1 for all inputs.
      monotone: 1 / L, the largest eta that reverses no direction.
      keeping: the largest eta with every singular value of dh_T/dh_0 above `floor` after T steps.
      floor: that of `keeping`.
    """

    smoothness: ScalarArray
    non_expanding: ScalarArray
    monotone: ScalarArray
    keeping: ScalarArray
    floor: float


def eta_bounds(problem: Any, theta: Any, T: int, *, floor: float = 0.1) -> EtaBounds:
    """``2/L``, ``1/L`` and ``(1 - floor^(1/T)) / L``, from ``(1 - eta L)^T >= floor``.

    Holds for an energy with a Hessian between 0 and L in which h_prev plays no part; if that is not
    true of your own energy, it must say so (see `lower.energies`). Training moves L, with theta.

    Args:
      problem: an energy with ``smoothness(theta) -> L``.
      theta: its parameters.
      T: lower-level steps, >= 1.
      floor: in (0, 1); by default gradients vary over time by no more than a factor of ten.

    Raises:
      ValueError: T or floor out of range, or an energy for which no such L is known.
    """
    check_num_steps(T)
    check_floor(floor)
    return bounds_for(convex_smoothness(problem, theta), T, floor)


def bounds_for(L: ScalarArray, T: int, floor: float) -> EtaBounds:
    """The same from L, of numbers that were checked."""
    return EtaBounds(L, 2 / L, 1 / L, -jnp.expm1(jnp.log(floor) / T) / L, floor)


def gradient_floor(
    eta: float | Hyperparameter, smoothness: float | ScalarArray, T: int
) -> ScalarArray:
    """``sqrt(min eta / max eta) max(0, 1 - max(eta) L)^T <= sigma_min(dh_T/dh_0)``."""
    fastest, spread = _fastest_and_spread(eta, T)
    kept = jnp.log1p(-jnp.minimum(fastest * smoothness, 1.0))
    return jnp.exp(T * kept) / spread


def gradient_ceiling(
    eta: float | Hyperparameter, smoothness: float | ScalarArray, T: int
) -> ScalarArray:
    """``||dh_T/dh_0|| <= sqrt(max eta / min eta) max(1, max(eta) L - 1)^T``; inf on overflow."""
    fastest, spread = _fastest_and_spread(eta, T)
    return spread * jnp.maximum(1.0, fastest * smoothness - 1.0) ** T


def convex_smoothness(problem: Any, theta: Any) -> ScalarArray:
    """L with ``0 <= Hess F <= L``; ValueError where it is unknown or bounds no Jacobian."""
    name = type(problem).__name__
    if getattr(problem, "uses_h_prev", False):
        raise ValueError(
            f"expected an energy in which h_prev plays no part, got {name}: the Jacobian "
            f"dh_t/dh_{{t-1}} then has a part beside I - eta H; try jacobian_spectrum"
        )
    if not hasattr(problem, "smoothness"):
        raise ValueError(
            f"expected an energy with smoothness(theta) -> L, got {name}; try jacobian_spectrum"
        )
    L = problem.smoothness(theta)
    if not getattr(problem, "is_convex", True):
        raise ValueError(
            f"expected a piecewise linear activation, got a curved one in {name}: the Hessian may "
            f"be negative and a step may expand by 1 + eta L at any eta; try jacobian_spectrum"
        )
    return L


def check_floor(floor: float) -> None:
    if not 0 < floor < 1:
        raise ValueError(f"expected a floor in (0, 1), got {floor:g}; try 0.1")


def check_num_steps(T: int) -> None:
    if T < 1:
        raise ValueError(f"expected T >= 1, got {T}; try the length of your sequences")


def _fastest_and_spread(eta: float | Hyperparameter, T: int) -> tuple[ScalarArray, ScalarArray]:
    check_num_steps(T)
    eta = jnp.asarray(eta)
    check_ranges(eta)
    fastest = jnp.max(eta)
    return fastest, jnp.sqrt(fastest / jnp.min(eta))
