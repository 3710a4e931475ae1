"""Checks of the random streams that a module is given."""

from typing import Any, TypeAlias

import jax
from flax import nnx

# What a call may draw from instead of its own streams.
Streams: TypeAlias = nnx.Rngs | nnx.RngStream | jax.Array | None


def check_streams(rngs: Any, *names: str) -> nnx.Rngs:
    """`rngs` itself; ValueError unless it has all these streams."""
    if not isinstance(rngs, nnx.Rngs):
        raise ValueError(f"expected rngs as in nnx.Rngs(0), got {rngs!r:.60}")
    for name in names:
        if not (name in rngs or "default" in rngs):
            raise ValueError(f"expected rngs with a stream {name}; try nnx.Rngs(0, {name}=1)")
    return rngs


def as_streams(rngs: Streams) -> nnx.Rngs | nnx.RngStream | None:
    """`rngs` as a call can draw from them; a key becomes streams, or all would draw the same."""
    if isinstance(rngs, jax.Array):
        return nnx.Rngs(rngs)
    if rngs is None or isinstance(rngs, nnx.Rngs | nnx.RngStream):
        return rngs
    raise ValueError(f"expected rngs as in nnx.Rngs(0), got {rngs!r:.60}")
