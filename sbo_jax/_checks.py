"""Checks of values that a caller gives: counts, and names out of a known set."""

import difflib
import itertools
import math
from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin

import jax
import jax.numpy as jnp
import numpy as np


def check_counts(**counts: int) -> None:
    """ValueError unless every count is at least 1, and one that XLA can count to."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise ValueError(f"expected {name} as a whole number >= 1, got {count!r}")
        if count >= 2**31:
            raise ValueError(f"expected {name} < 2**31, got {count}")


def as_numbers(name: str, value: Any) -> jax.Array | np.ndarray:
    """An array of real numbers; a list becomes one.

    Whole numbers that JAX would wrap, as 64 bits into 32, become floating-point numbers.

    Raises:
      ValueError: None, text, lists of unequal length, complex numbers.
    """
    refused = f"expected {name} as an array of numbers, got {value!r:.60}"
    if isinstance(value, str | bytes):  # which NumPy takes for the name of a type, with a warning
        raise ValueError(refused)
    try:
        array = value if isinstance(value, jax.Array | np.ndarray) else _as_array(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(refused) from error
    if isinstance(array, np.ndarray) and _wraps(array):
        array = array.astype(np.float64)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ValueError(
            f"expected real {name}, got {array.dtype}; try real and imaginary parts as features"
        )
    if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool):
        raise ValueError(f"expected {name} as an array of numbers, got {array.dtype}")
    return array


def _as_array(value: Any) -> jax.Array | np.ndarray:
    try:
        return jnp.asarray(value)
    except OverflowError:  # a whole number beyond 32 bits
        return np.asarray(value, np.float64)


def _wraps(array: np.ndarray) -> bool:
    """Whether JAX's type for these whole numbers does not hold all of them."""
    if array.dtype.kind not in "iu" or not array.size:
        return False
    held = np.iinfo(jax.dtypes.canonicalize_dtype(array.dtype))
    return bool(array.max() > held.max or array.min() < held.min)


def check_flags(**flags: object) -> None:
    """ValueError unless every value is True or False: "no" would count as True."""
    for name, flag in flags.items():
        if not isinstance(flag, bool | np.bool_):
            raise ValueError(f"expected {name} as True or False, got {flag!r}")


def check_finite_number(**numbers: object) -> None:
    """ValueError for a Python number that is not finite; arrays pass."""
    for name, value in numbers.items():
        if isinstance(value, int | float) and not math.isfinite(value):
            raise ValueError(f"expected a finite {name}, got {value}")


def number(value: Any) -> float:
    """The value as a float, NaN for what is none."""
    try:
        return math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def check_tolerance(tolerance: float) -> None:
    """ValueError unless it is a number >= 0."""
    if not number(tolerance) >= 0:
        raise ValueError(f"expected tolerance >= 0, got {tolerance}; try 1e-4")


def in_float32(number: float) -> float:
    """The number as float32 computes with it: infinite beyond its range, and 0 beneath it."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = float(np.float32(number))
    return rounded if abs(rounded) >= np.finfo(np.float32).tiny else 0 * rounded


def check_choice(
    name: str, value: object, known: Iterable[str], error: type[ValueError] = ValueError
) -> None:
    """`error` unless `value` is one of the known names."""
    known = tuple(known)
    if value not in known:
        hint = did_you_mean(str(value), known)
        raise error(f"expected {name} among {', '.join(known)}, got {value!r}{hint}")


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """The end of an error message: "; did you mean X?" for the closest known name, or nothing."""
    near = difflib.get_close_matches(value, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def is_more(size: Any, limit: int) -> bool:
    """``size > limit``; False where `jax.export` leaves the size open, and so the answer."""
    return isinstance(size, int) and size > limit


def is_known(array: object) -> bool:
    """Whether a check can look at the values: not traced, and all of them in this process."""
    if isinstance(array, jax.core.Tracer):
        return False
    return not isinstance(array, jax.Array) or array.is_fully_addressable


def literals(hint: object) -> tuple[str, ...]:
    """The names that a type allows: those of a Literal, or of all Literals inside it."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(itertools.chain.from_iterable(map(literals, get_args(hint))))
