"""A step of any recurrence, and the floating-point part of its carry."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .._types import Hidden, LowerCarry, LowerProblem, LowerSolver, ResidualProblem
from ..lower.step import lower_step

Step: TypeAlias = Callable[[Any, Any], tuple[Any, Any]]


def recurrence(
    problem: LowerProblem | ResidualProblem,
    solver: LowerSolver,
    theta: Any,
    *,
    inner_steps: int = 1,
) -> Step:
    """``step(carry, u) -> (carry, h)``: `lower_step` as the body of a scan."""

    def step(carry: LowerCarry, u: Any) -> tuple[LowerCarry, Hidden]:
        carry = lower_step(problem, solver, carry, u, theta, inner_steps=inner_steps)
        return carry, carry.h

    return step


def split_floats(tree: Any) -> tuple[list[Array], Callable[[list], Any]]:
    """The floating-point leaves of `tree`, and a function that puts others in their place.

    Other leaves, an optimiser's step count or a random key, have no derivative.
    """
    leaves, structure = jax.tree.flatten(tree)
    is_float = [jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves]

    def join(floats: list) -> Any:
        replacements = iter(floats)
        return jax.tree.unflatten(
            structure,
            [
                next(replacements) if moves else leaf
                for leaf, moves in zip(leaves, is_float, strict=True)
            ],
        )

    floats = [jnp.asarray(leaf) for leaf, moves in zip(leaves, is_float, strict=True) if moves]
    return floats, join


def flat_step(
    step: Step, carry: Any, x: Any
) -> tuple[Callable[[Float[Array, " n"]], Float[Array, " n"]], Float[Array, " n"]]:
    """The step at input x from vector to vector, and the vector of `carry`: n floats."""
    floats, join = split_floats(carry)
    vector, unravel = ravel_pytree(floats)

    def flat(vector: Float[Array, " n"]) -> Float[Array, " n"]:
        new, _ = step(join(unravel(vector)), x)
        return ravel_pytree(split_floats(new)[0])[0]

    return flat, vector


def num_time_steps(xs: Any) -> int:
    """T, the length of the leading axis of `xs`, at least 1."""
    lengths = {len(leaf) for leaf in jax.tree.leaves(xs)}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"expected time-major inputs of one length T >= 1, got {sorted(lengths)}")
    return lengths.pop()
