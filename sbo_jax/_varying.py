"""Within `jax.shard_map`: which arrays differ from device to device.

JAX sums a derivative over the devices where its variable is the same on all of them and its data
are not. That is right for parameters. It is wrong for a gradient inside a model, of a state that
starts as the same zeros everywhere: samples on other devices would enter it. So all that meets in
one computation is first made to vary over the same axes.
"""

from typing import Any

import jax

from ._types import AnyArray


def varying_axes(tree: Any) -> frozenset[str]:
    """The mesh axes that any array of `tree` varies over; none outside `jax.shard_map`."""
    kinds = [_axes(leaf) for leaf in jax.tree.leaves(tree)]
    return frozenset().union(*kinds)


def as_varying(*trees: Any) -> tuple[Any, ...]:
    """All of them, varying over every axis that one of them varies over."""
    axes = varying_axes(trees)
    return tuple(vary(tree, axes) for tree in trees)


def vary(tree: Any, axes: frozenset[str]) -> Any:
    """`tree`, varying over these axes as well; itself where it does already."""

    def cast(leaf: AnyArray) -> AnyArray:
        missing = axes - _axes(leaf)
        return jax.lax.pcast(leaf, tuple(missing), to="varying") if missing else leaf

    return jax.tree.map(cast, tree) if axes else tree


def _axes(leaf: Any) -> frozenset[str]:
    if not isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):  # NumPy's are the same everywhere
        return frozenset()
    return jax.typeof(leaf).manual_axis_type.varying
