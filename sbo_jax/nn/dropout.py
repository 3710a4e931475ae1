"""Dropout as modules here hold it: of some numbers, or none at all."""

from typing import Any, TypeAlias

import jax.numpy as jnp
from flax import nnx

from .._checks import number
from .._streams import check_streams

Dropout: TypeAlias = nnx.Dropout | None
# The axis of steps in inputs [batch, time, features].
TIME = 1


def dropout_or_none(rngs: nnx.Rngs, *, same_over: tuple[int, ...] = (), **rate: Any) -> Any:
    """An `nnx.Dropout` for the rate of this name, None for the rate 0.

    Along the axes `same_over` all numbers are dropped together, or none.

    Raises:
      ValueError: a rate outside of [0, 1), or `rngs` without a stream `dropout`.
    """
    ((name, value),) = rate.items()
    if not 0 <= number(value) < 1:
        raise ValueError(f"expected 0 <= {name} < 1, got {value!r}")
    if not value:
        return nnx.data(None)
    return nnx.Dropout(value, broadcast_dims=same_over, rngs=check_streams(rngs, "dropout"))


def dropped(dropout: Dropout, xs: Any, rngs: Any) -> Any:
    """``xs * m / (1 - rate)`` of an array, each m 0 with probability `rate`; xs in an evaluation.

    Drawn from `rngs`, or the own stream where that is None.
    """
    if dropout is None:
        return xs
    if isinstance(rngs, nnx.Rngs):
        check_streams(rngs, "dropout")
    return dropout(jnp.asarray(xs) * 1.0, rngs=rngs)  # whole numbers become floats
