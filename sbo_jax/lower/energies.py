"""Lower-level energies ``F(h, u; theta, h_prev) -> [*batch]``.

Reading a sequence is stochastic optimisation of one of them over h. Their gradient in h is
`jax.grad` of the batch sum: for `Residual` that equals the closed form
(alpha I - W D)(alpha h - phi), D = diag(phi'), and compiles to the same two products; no D x D
matrix per sample is formed.

An energy may state three properties: ``smoothness(theta)``, an upper bound L of its Hessian's norm;
``is_convex``, whether its Hessian has no negative eigenvalue wherever it exists; ``uses_h_prev``,
whether F depends on h_prev. No Jacobian of an SGD step expands if eta L <= 1, F is convex and
h_prev plays no part; `stability` assumes the last two unless the energy states otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from .._checks import check_finite_number
from .._types import Activation, Drive, Energy, Hidden, Operator, ScalarArray

SmoothnessBound = Callable[[Operator, float], ScalarArray]

# Piecewise linear with slopes in [0, 1]: where `Operator.curvature` bounds the Hessian.
_UNIT_SLOPES: tuple[Activation, ...] = (jax.nn.relu, jax.nn.leaky_relu, jax.nn.identity)


def smoothness_of(problem: Any, theta: Any) -> ScalarArray:
    """L(theta), the bound that an energy states of its Hessian; ValueError where it has none."""
    bound = getattr(problem, "smoothness", None)
    if bound is None:
        raise ValueError(
            f"expected an energy with a method smoothness(theta) -> L, got {problem}; give it one "
            f"or use a fixed or learned eta"
        )
    return bound(theta)


@dataclass(frozen=True)
class Residual:
    """``F = 1/2 ||alpha h - phi(h W + u)||^2``: the paper's energy.

    Args:
      phi: elementwise activation.
      alpha: weight of the iterate.
      bound: ``(theta, alpha) -> L``, an upper bound on the Hessian's norm for all h and u. By
        default ``theta.curvature(alpha)`` for ReLU, leaky ReLU and the identity. Other activations
        have no default: the term ``(alpha h - phi) phi''`` of their Hessian is not bounded by W.

    Source: Zhang et al. 2021, integrated from the gradient in the authors' release.
    """

    phi: Activation = jax.nn.relu
    alpha: float = 1.0
    bound: SmoothnessBound | None = None
    uses_h_prev: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_finite_number(alpha=self.alpha)

    def __call__(self, h: Hidden, u: Drive, theta: Operator, h_prev: Hidden) -> Energy:
        residual = self.alpha * h - self.phi(theta(h) + u)
        return 0.5 * jnp.sum(residual * residual, axis=-1)

    def __deepcopy__(self, memo: dict) -> "Residual":
        return self  # frozen, and a copy of phi would not be recognised as ReLU

    @property
    def is_convex(self) -> bool:
        """Whether phi is piecewise linear: a curved one adds a term of either sign."""
        return not _is_curved(self.phi)

    def smoothness(self, theta: Operator) -> ScalarArray:
        """L(theta) with ``||Hess F|| <= L`` wherever the Hessian exists; ValueError if unknown."""
        if self.bound is not None:
            return self.bound(theta, self.alpha)
        if self.phi in _UNIT_SLOPES:
            return theta.curvature(self.alpha)
        name = getattr(self.phi, "__name__", self.phi)
        raise ValueError(
            f"expected relu, leaky_relu or identity, for which a bound L of the Hessian is known, "
            f"got {name}; pass Residual(phi, bound=...) or use a fixed or learned eta"
        )


@dataclass(frozen=True)
class Transition:
    """``F = 1/2 ||h - phi(h_prev W + u)||^2``: any RNN as a sequence of proximity problems.

    ``sgd(1)`` solves it exactly and is the vanilla RNN; ``sgd(eta)`` is one Euler step of its
    gradient flow, FastRNN with weights (eta, 1 - eta). Its Hessian is the identity, so L = 1; that
    does not bound the Jacobian dh_t/dh_{t-1} of the recurrence.

    Source: Zhang et al. 2021, eqs. 4 and 5, with a factor 1/2 and a sign that descends.
    """

    phi: Activation = jnp.tanh
    is_convex: ClassVar[bool] = True
    uses_h_prev: ClassVar[bool] = True

    def __call__(self, h: Hidden, u: Drive, theta: Operator, h_prev: Hidden) -> Energy:
        residual = h - self.phi(theta(h_prev) + u)
        return 0.5 * jnp.sum(residual * residual, axis=-1)

    def smoothness(self, theta: Operator) -> ScalarArray:
        """L = 1 for every theta."""
        return jnp.ones((), jax.tree.leaves(theta)[0].dtype)


@dataclass(frozen=True)
class IncrementalEquilibrium:
    """``alpha (h + h_prev) - phi((h + h_prev) W + u) = 0``: iRNN's equilibrium.

    The left side is not the gradient of an energy, so the problem states it as its residual;
    solvers use it in place of a gradient.

    Source: Kag et al. 2020 (iRNN), the stationary point of its ODE.
    """

    phi: Activation = jnp.tanh
    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_finite_number(alpha=self.alpha)

    def residual(self, h: Hidden, u: Drive, theta: Operator, h_prev: Hidden) -> Hidden:
        total = h + h_prev
        return self.alpha * total - self.phi(theta(total) + u)


def _is_curved(phi: Activation) -> bool:
    """Whether phi'' differs from zero at one of 61 points of [-3, 3]."""

    def slope(z: jax.Array) -> jax.Array:
        return jax.jvp(phi, (z,), (jnp.ones_like(z),))[1]

    with jax.ensure_compile_time_eval():
        z = jnp.linspace(-3.0, 3.0, 61)
        return bool(jnp.any(jax.jvp(slope, (z,), (jnp.ones_like(z),))[1] != 0))
