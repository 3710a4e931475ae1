"""The bounds in words, for a terminal or a notebook."""

import math
from typing import Any

import jax.numpy as jnp

from .._types import Hyperparameter
from .._words import counted
from ..lower.hyperparameters import check_ranges
from .bounds import (
    bounds_for,
    check_floor,
    check_num_steps,
    convex_smoothness,
    gradient_ceiling,
    gradient_floor,
)
from .momentum import Momentum, worst_radius

# Tolerated in eta L, so that eta = 2/L counts as 2/L; L itself has a larger margin.
_ROUNDING = 1e-6


def report(
    problem: Any, theta: Any, eta: float | Hyperparameter, T: int, *, floor: float = 0.1
) -> str:
    """``eta = ..., L = ..., eta L = ...: cannot explode; floor over T = 784 is 0.33``.

    For gradient descent with eta > 0, scalar or per unit, over T lower-level steps at the current
    theta; see `eta_bounds`. With momentum: `momentum_report`.
    """
    eta = jnp.asarray(eta)
    check_ranges(eta)
    check_num_steps(T)
    check_floor(floor)
    try:
        smoothness = convex_smoothness(problem, theta)
    except ValueError as reason:
        return _unknown(eta, reason)
    bounds, L = bounds_for(smoothness, T, floor), float(smoothness)
    return "\n".join(
        [
            f"{_product(eta, L)}: {_verdict(eta, L, T)}",
            f"cannot explode up to eta = 2/L = {bounds.non_expanding:.4g}; "
            f"monotone up to 1/L = {bounds.monotone:.4g}; "
            f"floor {floor:g} over T = {T} up to {bounds.keeping:.4g}",
            *_per_unit(eta),
            "Holds for every input and at this theta, where the Jacobian exists: states on two "
            "sides of a kink may move apart.",
        ]
    )


def momentum_report(
    momentum: Momentum,
    problem: Any,
    theta: Any,
    eta: float | Hyperparameter,
    mu: float | Hyperparameter,
    T: int,
) -> str:
    """What is known of a step with momentum, and what has to be measured; see `momentum`.

    Args:
      momentum: `HEAVY_BALL` or `NESTEROV`.
      problem: an energy with ``smoothness(theta) -> L``.
      theta: its parameters.
      eta: > 0, scalar or per unit.
      mu: in [0, 1), scalar or per unit.
      T: lower-level steps, >= 1.
    """
    eta, mu = jnp.asarray(eta), jnp.asarray(mu)
    check_ranges(eta, mu)
    check_num_steps(T)
    try:
        L = float(convex_smoothness(problem, theta))
    except ValueError as reason:
        return _unknown(eta, reason)
    product_limit = momentum.product_limit(mu)
    safe = bool(jnp.all(eta * L <= product_limit))
    verdict = _product_verdict(T) if safe else _step_verdict(momentum, eta, mu, L, T)
    return "\n".join(
        [
            f"{_product(eta, L)}, mu = {_range(mu)}: {verdict}",
            f"No product grows without bound up to eta L = {_range(product_limit)}; each step is "
            f"stable up to eta L = {_range(_step_limit(momentum, eta, mu))}.",
            "With momentum there is no floor: measure with gradient_flow or jacobian_spectrum.",
        ]
    )


def _verdict(eta: Hyperparameter, L: float, T: int) -> str:
    rate = float(jnp.max(eta)) * L
    if rate <= 1 + _ROUNDING:
        return f"cannot explode; floor over T = {T} is {gradient_floor(eta, L, T):.2g}"
    if rate <= 2 + _ROUNDING:
        return (
            f"cannot explode, but directions may turn round and vanish; no floor over T = {T} "
            f"above eta L = 1"
        )
    ceiling = float(gradient_ceiling(eta, L, T))
    bound = f"{ceiling:.2g}" if math.isfinite(ceiling) else f"({rate - 1:.3g})^{T}"
    return f"may explode, by up to {bound} over T = {T}; no floor; lower eta below {2 / L:.4g}"


def _step_verdict(
    momentum: Momentum, eta: Hyperparameter, mu: Hyperparameter, L: float, T: int
) -> str:
    """Beyond the product limit, at most single steps are known to be stable."""
    fastest = float(jnp.max(eta))
    if fastest * L <= 1 + _ROUNDING:
        return f"each step is stable, yet a product of T = {T} different ones may explode"
    if eta.ndim or mu.ndim:
        return "may explode; nothing is known above eta L = 1 with one number per unit"
    if fastest * L <= float(momentum.step_limit(mu)) + _ROUNDING:
        return f"each step is stable, yet a product of T = {T} different ones may explode"
    radius = float(worst_radius(momentum.companion, fastest, mu, L))
    return f"may explode: a step may have an eigenvalue of modulus {radius:.4g}"


def _product(eta: Hyperparameter, L: float) -> str:
    name = "max(eta) L" if eta.ndim else "eta L"
    return f"eta = {_range(eta)}, L = {L:.4g}, {name} = {float(jnp.max(eta)) * L:.4g}"


def _range(value: Hyperparameter) -> str:
    if value.ndim == 0:
        return f"{value:.4g}"
    low, high = f"{jnp.min(value):.4g}", f"{jnp.max(value):.4g}"
    span = low if low == high else f"{low}..{high}"
    return f"{span} over {counted(len(value), 'unit')}"


def _per_unit(eta: Hyperparameter) -> list[str]:
    if eta.ndim == 0:
        return []
    spread = float(jnp.sqrt(jnp.max(eta) / jnp.min(eta)))
    return [
        "One eta per unit: these limits are for the largest. Nothing grows in the norm x^T P^-1 x "
        f"with P = diag(eta), nor in the Euclidean norm by more than {spread:.3g} up to 2/L."
    ]


def _unknown(eta: Hyperparameter, reason: ValueError) -> str:
    return (
        f"eta = {_range(eta)}, L unknown: nothing is promised, neither that gradients stay bounded "
        f"nor that they stay above a floor.\nWhy: {reason}.\n"
        "Measure with gradient_flow or jacobian_spectrum."
    )


def _step_limit(momentum: Momentum, eta: Hyperparameter, mu: Hyperparameter) -> Hyperparameter:
    """The step limit of eta L; with one number per unit only 1 is known."""
    return jnp.ones(()) if eta.ndim or mu.ndim else momentum.step_limit(mu)


def _product_verdict(T: int) -> str:
    return f"cannot explode: products of T = {T} steps stay below a constant that is not given"
