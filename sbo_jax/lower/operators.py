"""The recurrent map ``h -> h W`` of the lower-level energy.

An operator is a callable pytree and *is* the parameter theta of a lower problem. It knows its
number of parameters and two upper bounds, which decide how large a step may be:

* ``gap(alpha) >= ||alpha I - W||_2``;
* ``curvature(alpha) >= max_D ||alpha I - W D||_2^2`` over all diagonal D with entries in [0, 1],
  which bounds the Hessian of ``1/2 ||alpha h - phi(h W + u)||^2`` for a piecewise linear phi with
  slopes in [0, 1]. Since ``alpha I - W D = alpha (I - D) + (alpha I - W) D`` acts on complementary
  directions, ``alpha^2 + gap^2`` is such a bound; a diagonal W has the exact one.

`Dense` and `LowRank` multiply in `product_dtype` (bfloat16, for example) if it is given, forward
and backward; the identity part of W, states, parameters and both bounds keep their own precision.

``init`` draws matrices from the paper's U(-1/sqrt(D), 1/sqrt(D)); `Diagonal` and `Scalar` start at
zero. The paper's *dense* is `LowRank`, its *sparse* is `Scalar`.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike

from .._numerics import spectral_norm_bound, with_exact_products
from .._types import Hidden, Operator, PRNGKey, ScalarArray

PAPER_RANK = 50
# Gradients underflow in float16, and integers have none.
_PRODUCT_DTYPES = ("bfloat16", "float32", "float64")

# JAX and Flax also put tracers, shapes and nnx.Param at the leaves of a pytree.
Leaf: TypeAlias = Any


class _Operator:
    @property
    def num_parameters(self) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(self))

    def gap(self, alpha: float) -> ScalarArray:
        return _rounded_up(self._gap(alpha), self)

    def curvature(self, alpha: float) -> ScalarArray:
        return _rounded_up(self._curvature(alpha, self._gap(alpha)), self)

    def _gap(self, alpha: float) -> ScalarArray:
        """In float32 at least."""
        raise NotImplementedError

    def _curvature(self, alpha: float, gap: ScalarArray) -> ScalarArray:
        raise NotImplementedError


class _Mixing(_Operator):
    """Operators that multiply matrices."""

    units_interact: ClassVar[bool] = True
    product_dtype: DTypeLike | None

    def _curvature(self, alpha: float, gap: ScalarArray) -> ScalarArray:
        return alpha**2 + gap**2


class _Elementwise(_Operator):
    """Operators with a diagonal W: both bounds are exact."""

    units_interact: ClassVar[bool] = False
    w: Leaf

    def __call__(self, h: Hidden) -> Hidden:
        return h * jnp.broadcast_to(self.w, h.shape)

    def _gap(self, alpha: float) -> ScalarArray:
        return jnp.max(jnp.abs(alpha - _wide(self.w)))

    def _curvature(self, alpha: float, gap: ScalarArray) -> ScalarArray:
        return jnp.maximum(alpha**2, gap**2)


@partial(jax.tree_util.register_dataclass, data_fields=["a"], meta_fields=["product_dtype"])
@dataclass(frozen=True)
class Dense(_Mixing):
    """``W = I + A``, D^2 parameters."""

    a: Leaf  # [D, D]
    product_dtype: DTypeLike | None = None

    @classmethod
    def init(cls, key: PRNGKey, features: int, dtype: DTypeLike = jnp.float32) -> "Dense":
        return cls(uniform(key, (features, features), features, dtype))

    def __call__(self, h: Hidden) -> Hidden:
        return h + product(h, self.a, self.product_dtype)

    def _gap(self, alpha: float) -> ScalarArray:
        a = _wide(self.a)
        return spectral_norm_bound((alpha - 1) * jnp.eye(len(a), dtype=a.dtype) - a)


@partial(jax.tree_util.register_dataclass, data_fields=["u", "v"], meta_fields=["product_dtype"])
@dataclass(frozen=True)
class LowRank(_Mixing):
    """``W = I + U V`` of rank R, 2 D R parameters: the paper's "dense"."""

    u: Leaf  # [D, R]
    v: Leaf  # [R, D]
    product_dtype: DTypeLike | None = None

    @classmethod
    def init(
        cls, key: PRNGKey, features: int, dtype: DTypeLike = jnp.float32, *, rank: int | None = None
    ) -> "LowRank":
        """Draw U and V; `rank` in [1, features], by default the smaller of 50 and `features`."""
        if rank is None:
            rank = min(PAPER_RANK, features)
        if not 1 <= rank <= features:
            raise ValueError(
                f"expected a rank between 1 and the {features} hidden features, got rank {rank}; "
                f"lower the rank or use Dense"
            )
        key_u, key_v = jax.random.split(key)
        u = uniform(key_u, (features, rank), features, dtype)
        v = uniform(key_v, (rank, features), features, dtype)
        return cls(u, v)

    def __call__(self, h: Hidden) -> Hidden:
        low = product(h, self.u, self.product_dtype)
        return h + product(low, self.v, self.product_dtype)

    @with_exact_products
    def _gap(self, alpha: float) -> ScalarArray:
        u, v = _wide(self.u), _wide(self.v)
        return spectral_norm_bound((alpha - 1) * jnp.eye(len(u), dtype=u.dtype) - u @ v)


@partial(jax.tree_util.register_dataclass, data_fields=["w"], meta_fields=[])
@dataclass(frozen=True)
class Diagonal(_Elementwise):
    """``W = diag(w)``, D parameters, initially zero."""

    w: Leaf  # [D]

    @classmethod
    def init(cls, key: PRNGKey, features: int, dtype: DTypeLike = jnp.float32) -> "Diagonal":
        del key
        return cls(jnp.zeros(features, dtype))


@partial(jax.tree_util.register_dataclass, data_fields=["w"], meta_fields=[])
@dataclass(frozen=True)
class Scalar(_Elementwise):
    """``W = w I``, one parameter, initially zero: the paper's "sparse"."""

    w: Leaf  # []

    @classmethod
    def init(cls, key: PRNGKey, features: int, dtype: DTypeLike = jnp.float32) -> "Scalar":
        del key, features
        return cls(jnp.zeros((), dtype))


def _wide(leaf: Leaf) -> Array:
    return jnp.asarray(leaf, jnp.promote_types(leaf.dtype, jnp.float32))


def _rounded_up(bound: ScalarArray, theta: _Operator) -> ScalarArray:
    """The bound in the type of theta, at least as large where that type is a smaller one."""
    dtype = jax.tree.leaves(theta)[0].dtype
    return bound if bound.dtype == dtype else (bound * (1 + jnp.finfo(dtype).eps)).astype(dtype)


def product(x: Array, w: Leaf, dtype: DTypeLike | None) -> Array:
    """``x w`` with operands and result rounded to `dtype`, returned in the dtype of x.

    Casting around each product keeps states, and sums over a loop in time, in their own precision.
    """
    if dtype is None:
        return x @ w
    return (x.astype(dtype) @ w.astype(dtype)).astype(x.dtype)


def units_interact(theta: Any) -> bool:
    """Whether one unit may depend on another; assumed where `theta` does not say."""
    return getattr(theta, "units_interact", True)


def with_product_dtype(theta: Operator, dtype: DTypeLike | None) -> Operator:
    """`theta` that multiplies in `dtype`; ValueError for an operator that does not know how."""
    if dtype is None or not units_interact(theta):  # a diagonal W has no matrix products
        return theta
    check_product_dtype(dtype)
    if not hasattr(theta, "product_dtype"):
        raise ValueError(
            f"expected one of this library's operators together with a dtype, got "
            f"{type(theta).__name__}; leave dtype out and cast inside the operator"
        )
    return replace(theta, product_dtype=jnp.dtype(dtype))  # type: ignore[type-var]


def check_product_dtype(dtype: DTypeLike) -> None:
    """ValueError for a dtype in which products cannot be trained."""
    try:
        known = not hasattr(dtype, "shape") and jnp.dtype(dtype).name in _PRODUCT_DTYPES
    except (TypeError, ValueError):
        known = False
    if not known:
        raise ValueError(f"expected one of the dtypes {', '.join(_PRODUCT_DTYPES)}, got {dtype!r}")


def uniform(key: PRNGKey, shape: tuple[int, ...], features: int, dtype: DTypeLike) -> Array:
    """U(-1/sqrt(features), 1/sqrt(features)): the paper's initialisation of every weight."""
    limit = features**-0.5
    return jax.random.uniform(key, shape, dtype, -limit, limit)
