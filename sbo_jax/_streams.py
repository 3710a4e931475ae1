"""Checks of the random streams that a module is given."""

from typing import Any

import jax
from flax import nnx


def check_streams(rngs: Any, *names: str) -> nnx.Rngs:
    """`rngs` itself; ValueError unless it has all these streams."""
    if not isinstance(rngs, nnx.Rngs):
        raise ValueError(f"expected rngs as in nnx.Rngs(0), got {rngs!r:.60}")
    for name in names:
        if not (name in rngs or "default" in rngs):
            raise ValueError(f"expected rngs with a stream {name}; try nnx.Rngs(0, {name}=1)")
    return rngs


def check_draws(rngs: Any, name: str) -> None:
    """ValueError unless a call can draw from `rngs`: all streams, the one named, a key, or None."""
    if isinstance(rngs, nnx.Rngs):
        check_streams(rngs, name)
    elif not (rngs is None or isinstance(rngs, nnx.RngStream | jax.Array)):
        raise ValueError(f"expected rngs as in nnx.Rngs(0), got {rngs!r:.60}")
