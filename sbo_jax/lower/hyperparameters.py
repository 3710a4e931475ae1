"""Eta and mu of the lower level: fixed, learned, or normalised by the bound L.

A hyper-parameter is a raw array and a pure function that maps it, and the smoothness L of the lower
problem at the current parameters, to the value that the solver uses. Only the raw array is carried,
trained or swept; the function contains no number, so one compilation serves every value.

`value` is a float, an array with one entry per hidden unit, or a function of the number of units:
`PerUnit`, `LinSpaced`, `LogSpaced`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import DTypeLike

from .._checks import as_numbers
from .._types import Hyperparameter, ScalarArray

Value: TypeAlias = float | jax.Array | Callable[[int], jax.Array]
Smoothness: TypeAlias = Callable[[], ScalarArray]


@dataclass(frozen=True)
class PerUnit:
    """The same initial value for every hidden unit; each then learns its own."""

    value: float

    def __call__(self, features: int) -> jax.Array:
        return jnp.full(features, self.value)


@dataclass(frozen=True)
class LinSpaced:
    """One number per hidden unit, linearly spaced from `first` to `last`."""

    first: float
    last: float

    def __call__(self, features: int) -> jax.Array:
        return jnp.linspace(self.first, self.last, features)


@dataclass(frozen=True)
class LogSpaced:
    """One number per hidden unit, log-spaced: slow units remember, fast ones react."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (self.low > 0 and self.high > 0):
            raise ValueError(
                f"expected low > 0 and high > 0, got {self.low:g} and {self.high:g}; try LinSpaced"
            )

    def __call__(self, features: int) -> jax.Array:
        return jnp.geomspace(self.low, self.high, features)


@runtime_checkable
class LowerHyperparameter(Protocol):
    """``init`` returns the raw array, ``resolve`` the value that the solver uses.

    `trained` says whether gradient steps change the raw array; the value it stands for is the same.
    """

    @property
    def trained(self) -> bool: ...

    def init(self, features: int, dtype: DTypeLike = jnp.float32) -> Hyperparameter: ...

    @staticmethod
    def resolve(raw: Hyperparameter, smoothness: Smoothness) -> Hyperparameter: ...


@dataclass(frozen=True)
class _Raw:
    value: Value

    def init(self, features: int, dtype: DTypeLike = jnp.float32) -> Hyperparameter:
        return _start(self.value, features, dtype)

    @staticmethod
    def resolve(raw: Hyperparameter, smoothness: Smoothness) -> Hyperparameter:
        return raw


class Fixed(_Raw):
    """The value itself; no gradient step ever changes it."""

    trained: ClassVar[bool] = False


class Learned(_Raw):
    """The value itself, trained without constraint, as the authors' release trains mu.

    Nothing keeps a learned mu below 1 or a learned eta positive: see `Bounded` and `Positive`.
    """

    trained: ClassVar[bool] = True


@dataclass(frozen=True)
class Positive:
    """``exp(raw)``, trained: an eta that stays positive. ``value > 0``."""

    value: Value
    trained: ClassVar[bool] = True

    def init(self, features: int, dtype: DTypeLike = jnp.float32) -> Hyperparameter:
        value = _start(self.value, features, dtype)
        _check("a positive value > 0", value, lambda x: x > 0, "use Learned for any number")
        return jnp.log(value)

    @staticmethod
    def resolve(raw: Hyperparameter, smoothness: Smoothness) -> Hyperparameter:
        return jnp.exp(raw)


@dataclass(frozen=True)
class Bounded:
    """``sigmoid(raw)``, trained: a mu that cannot leave [0, 1). ``0 < value < 1``."""

    value: Value
    trained: ClassVar[bool] = True

    def init(self, features: int, dtype: DTypeLike = jnp.float32) -> Hyperparameter:
        value = _start(self.value, features, dtype)
        _check("0 < value < 1", value, _inside, "a sigmoid cannot start at its ends")
        return _logit(value)

    @staticmethod
    def resolve(raw: Hyperparameter, smoothness: Smoothness) -> Hyperparameter:
        return _sigmoid(raw)


@dataclass(frozen=True)
class Normalised:
    """``eta = s / L(theta)`` with ``s = sigmoid(raw)``: eta L < 1 at every theta.

    ``fraction`` is the initial s, ``0 < s < 1``; ``trained=False`` fixes it. Eta follows L at the
    current parameters either way, and gradients flow through L: stopping them made training slower
    and its result worse. The problem must have a method ``smoothness(theta)``.
    """

    fraction: Value
    trained: bool = True

    def init(self, features: int, dtype: DTypeLike = jnp.float32) -> Hyperparameter:
        fraction = _start(self.fraction, features, dtype)
        _check("0 < eta L < 1", fraction, _inside, "a normalised eta is a fraction of 1/L")
        return _logit(fraction)

    @staticmethod
    def resolve(raw: Hyperparameter, smoothness: Smoothness) -> Hyperparameter:
        return _sigmoid(raw) / smoothness()


def _start(value: Value, features: int, dtype: DTypeLike) -> Hyperparameter:
    numbers = as_numbers("eta and mu", value(features) if callable(value) else value)
    start = jnp.asarray(numbers, dtype)
    if start.shape not in ((), (features,)):
        raise ValueError(
            f"expected a scalar or one value for each of the {features} hidden units, "
            f"got shape {start.shape}"
        )
    return start


def check_ranges(eta: Hyperparameter, mu: Hyperparameter | None = None) -> None:
    """ValueError unless eta > 0 and 0 <= mu < 1; tracers pass.

    Under vmap and jit the values are tracers: a sweep checks its grid beforehand.
    """
    _check("a finite eta > 0", eta, _positive_and_finite, "the paper uses 1e-3")
    if mu is not None:
        _check("0 <= mu < 1", mu, lambda mu: (mu >= 0) & (mu < 1), "the paper starts at 0.5")


def _check(
    law: str, value: Hyperparameter, holds: Callable[[jax.Array], jax.Array], advice: str
) -> None:
    if isinstance(value, jax.core.Tracer):
        return
    if not value.size:
        raise ValueError(f"expected {law}, got no number; {advice}")
    wrong = value[~holds(value)]
    if wrong.size:
        raise ValueError(f"expected {law}, got {float(wrong.ravel()[0]):g}; {advice}")


def _positive_and_finite(eta: jax.Array) -> jax.Array:
    return (eta > 0) & (eta < jnp.inf)


def _inside(fraction: jax.Array) -> jax.Array:
    return (fraction > 0) & (fraction < 1)


def _logit(fraction: Hyperparameter) -> Hyperparameter:
    return jnp.log(fraction) - jnp.log1p(-fraction)


def _sigmoid(raw: Hyperparameter) -> Hyperparameter:
    """In [0, 1) in floating point too, where the sigmoid of a large number rounds to 1."""
    return jax.nn.sigmoid(raw) * (1 - jnp.finfo(raw.dtype).eps)
