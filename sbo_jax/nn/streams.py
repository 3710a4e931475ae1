"""A check of the random streams that a module is given."""

from typing import Any

from flax import nnx


def check_streams(rngs: Any, *names: str) -> nnx.Rngs:
    """`rngs` itself; ValueError unless it has all these streams."""
    if not isinstance(rngs, nnx.Rngs):
        raise ValueError(f"expected rngs as in nnx.Rngs(0), got {rngs!r}")
    for name in names:
        if not (name in rngs or "default" in rngs):
            raise ValueError(f"expected rngs with a stream {name}; try nnx.Rngs(0, {name}=1)")
    return rngs
