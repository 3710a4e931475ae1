"""Eigenvalues of a step's Jacobian, for a plot on the unit circle; dense, so for small carries."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from .steps import Step, flat_step, num_time_steps


def step_eigenvalues(step: Step, carry: Any, x: Any) -> Complex[np.ndarray, " n"]:
    """Eigenvalues of the Jacobian of one step in all n floats of the carry, largest modulus first.

    For one sample; forms the n x n Jacobian, and leaves jit for the host. With momentum the carry,
    and so the Jacobian, includes the solver's state.
    """
    return _eigenvalues(_step_jacobian(step, carry, x))


def mean_step_eigenvalues(step: Step, carry0: Any, xs: Any) -> Complex[np.ndarray, " n"]:
    """Eigenvalues of ``(1/T) sum_t J_t``, the average of the step's Jacobians along a sequence.

    The picture of a typical step; a product of different steps has other eigenvalues.
    """
    num_steps = num_time_steps(xs)
    jacobian = jax.eval_shape(
        lambda xs: _step_jacobian(step, carry0, jax.tree.map(lambda leaf: leaf[0], xs)), xs
    )

    def accumulate(state: Any, x: Any) -> tuple[Any, None]:
        carry, total = state
        return (step(carry, x)[0], total + _step_jacobian(step, carry, x)), None

    zeros = jnp.zeros(jacobian.shape, jacobian.dtype)
    (_, total), _ = jax.lax.scan(accumulate, (carry0, zeros), xs)
    return _eigenvalues(total / num_steps)


def _step_jacobian(step: Step, carry: Any, x: Any) -> Float[Array, "n n"]:
    flat, vector = flat_step(step, carry, x)
    return jax.jacfwd(flat)(vector)


def _eigenvalues(jacobian: Float[Array, "n n"]) -> Complex[np.ndarray, " n"]:
    eigenvalues = np.linalg.eigvals(np.asarray(jacobian, np.float64)).astype(np.complex128)
    return eigenvalues[np.argsort(-np.abs(eigenvalues))]
