"""Products of Jacobians with a block of vectors: step by step, re-orthonormalised."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._types import ScalarArray
from .._varying import as_varying
from .steps import Step, flat_step

Basis: TypeAlias = Float[Array, "n p"]
Product: TypeAlias = Callable[[Any, Any, Basis], Basis]


class Growth(NamedTuple):
    """The triangular factor R: its log-diagonal, and all of it over ``exp(log_scale)``."""

    log_diagonal: Float[Array, " p"]
    factor: Float[Array, "p p"]
    log_scale: ScalarArray


def jacobian_products(step: Step) -> Product:
    """``(carry, x, B) -> J B`` by jvp."""

    def push(carry: Any, x: Any, basis: Basis) -> Basis:
        flat, vector = flat_step(step, carry, x)
        _, jvp = jax.linearize(flat, vector)
        return jax.vmap(jvp, in_axes=1, out_axes=1)(basis)

    return push


def transposed_products(step: Step) -> Product:
    """``(carry, x, B) -> J^T B`` by vjp."""

    def pull(carry: Any, x: Any, basis: Basis) -> Basis:
        flat, vector = flat_step(step, carry, x)
        _, vjp = jax.vjp(flat, vector)
        return jax.vmap(lambda cotangent: vjp(cotangent)[0], in_axes=1, out_axes=1)(basis)

    return pull


def qr_of_product(
    product: Product, carries: Any, xs: Any, due: Bool[Array, " time"], basis: Basis
) -> tuple[Basis, Growth]:
    """``P_T ... P_1 B = Q R``, orthonormalised after every step that is due (so is the last)."""

    def body(state: tuple[Basis, Growth], inputs: Any) -> tuple[tuple[Basis, Growth], None]:
        basis, growth = state
        carry, x, is_due = inputs
        basis, factor = jax.lax.cond(is_due, _qr, _keep, product(carry, x, basis))
        return (basis, _accumulate(growth, factor)), None

    identity = jnp.eye(basis.shape[1], dtype=basis.dtype)
    nothing = Growth(jnp.zeros(len(identity), basis.dtype), identity, jnp.zeros((), basis.dtype))
    return jax.lax.scan(body, as_varying(basis, nothing), (carries, xs, due))[0]


def _qr(block: Basis) -> tuple[Basis, Float[Array, "p p"]]:
    orthonormal, factor = jnp.linalg.qr(block)
    return orthonormal, factor


def _keep(block: Basis) -> tuple[Basis, Float[Array, "p p"]]:
    return as_varying(block, jnp.eye(block.shape[1], dtype=block.dtype))


def _accumulate(growth: Growth, factor: Float[Array, "p p"]) -> Growth:
    """Multiply by `factor` from the left; a step with J = 0 gives -inf, not NaN."""
    product = factor @ growth.factor
    norm = jnp.maximum(jnp.linalg.norm(product), jnp.finfo(product.dtype).tiny)
    return Growth(
        growth.log_diagonal + jnp.log(jnp.abs(jnp.diagonal(factor))),
        product / norm,
        growth.log_scale + jnp.log(norm),
    )
