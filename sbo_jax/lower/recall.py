"""A state that is a matrix: an associative memory, written by steps on what it gets wrong.

A memory S `[*batch, values, keys]` answers a key k with S k. Its rows share the keys and nothing
else, so that each is a hidden state of its own: all that holds for vectors `[*batch, hidden]` holds
for rows, with `values` as one more batch axis.

>>> from sbo_jax.rollouts import unroll
>>> from sbo_jax.lower import sgd
>>> keys = jnp.eye(3)[:, None]  # three steps of one sample, `[time, batch, keys]`
>>> values = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])[:, None]
>>> asked = jnp.broadcast_to(keys[0], keys.shape)  # at every step what the first key stands for
>>> written = Association(keys, values, jnp.ones((3, 1)), asked)
>>> empty = jnp.zeros((1, 2, 3))
>>> carry, answers = unroll(Recall(), sgd(1.0), empty, written, None, read=Recall.read)
>>> answers[:, 0].tolist()
[[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Memory, ScalarArray


class Association(NamedTuple):
    """What one time step writes into a memory, and what it asks then: its drive.

    Args:
      key: k, of norm 1 where `Recall.smoothness` is to hold.
      value: v, what the memory should answer to k.
      weight: beta >= 0, how much it counts; at most 1 where `Recall.smoothness` is to hold.
      query: q, the key that is looked up after this step has been written; None: nothing is read.
    """

    key: Float[Array, "*batch keys"]
    value: Float[Array, "*batch values"]
    weight: Float[Array, "*batch"]
    query: Float[Array, "*batch keys"] | None = None


@dataclass(frozen=True)
class Recall:
    """``F = weight/2 (S k - v)^2``, row by row: how far a memory's answer to k is from v.

    Its gradient is ``weight (S k - v) k^T``. One step of ``sgd(1)`` is the delta rule of DeltaNet.
    A heavy ball with weight decay is the linear memory of Titans, with constants for its gates. A
    solved `proximal` problem is Longhorn's objective, with one weight for all values.

    Source: Schlag et al. 2021 and Yang et al. 2024 (DeltaNet), Behrouz et al. 2024 (Titans), Liu et
    al. 2024 (Longhorn).
    """

    is_convex: ClassVar[bool] = True
    uses_h_prev: ClassVar[bool] = False

    def __call__(
        self, h: Memory, u: Association, theta: Any, h_prev: Memory
    ) -> Float[Array, "*batch values"]:
        _check_fits(h, u)
        error = answer(h, u.key) - u.value
        return 0.5 * u.weight[..., None] * error * error

    @staticmethod
    def read(h: Memory, u: Association) -> Float[Array, "*batch values"]:
        """``S q``, for `unroll`; ValueError where the step asks nothing."""
        return answer(h, checked_query(u))

    def smoothness(self, theta: Any) -> ScalarArray:
        """L = 1, which holds for keys of norm 1 and weights of at most 1: L is weight ||k||^2."""
        return jnp.ones(())


def answer(h: Memory, key: Float[Array, "*batch keys"]) -> Float[Array, "*batch values"]:
    """``S k``."""
    return jnp.sum(h * key[..., None, :], axis=-1)


def checked_query(u: Association) -> Array:
    """The query; ValueError unless there is one, of the shape of the key."""
    asked = None if u.query is None else u.query.shape
    if u.query is None or asked != u.key.shape:
        raise ValueError(f"expected queries of the shape of the keys, {u.key.shape}, got {asked}")
    return u.query


def _check_fits(h: Memory, u: Association) -> None:
    """ValueError for shapes that broadcasting would hide."""
    *batch, values, keys = h.shape
    shapes = {"key": (*batch, keys), "value": (*batch, values), "weight": tuple(batch)}
    for name, shape in shapes.items():
        found = jnp.shape(getattr(u, name))
        if found != shape:
            raise ValueError(
                f"expected a {name} of shape {shape} for a memory of shape {h.shape}, got {found}"
            )
