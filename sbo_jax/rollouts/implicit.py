"""Differentiate at the solution, not through the steps that found it.

At a stationary point ``r(h*, p) = grad_h F(h*; p) = 0`` the implicit function theorem gives
``dh*/dp = -(dr/dh)^-1 dr/dp``, whatever solver came there. The reverse rule solves one linear
system with the transposed Jacobian, by matrix-free products; memory does not grow with the steps.

All matrix products here are exact, whatever JAX's default: the tolerances ask for more than one
pass of bfloat16 or TF32 gives.

The theorem speaks of smooth problems. Where phi has kinks (ReLU) a solver ends in chatter around
them: the report then says ``converged=False``, and the gradient is biased.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._checks import as_numbers, check_counts, check_tolerance
from .._numerics import largest, with_exact_products
from .._types import Energy, Hidden, LowerInfo, LowerSolver, ResidualProblem, Size
from .._varying import as_varying
from ..linear_solvers import CG, LinearSolution, LinearSolver, MatVec, norm_per_sample
from ..lower.composed import Problem, damped
from ..lower.step import as_state, check_energy, init_carry, lower_gradient, lower_step

Result = TypeVar("Result")

_CG = CG()

# The residual computed from a solution may exceed the one that the iteration believed in.
_ROUNDING_SLACK = 10


class ProblemData(NamedTuple):
    """What a problem depends on besides h: the drive, its parameters, the state before the step."""

    u: Any
    theta: Any
    h_prev: Any


@runtime_checkable
class AdjointPolicy(Protocol):
    """What becomes of the adjoint solution; a hashable function.

    ``(w, info, matvec, v) -> w`` with ``matvec(w) = (dr/dh)^T w`` and v the cotangent of h*.
    """

    def __call__(self, w: Hidden, info: LowerInfo, matvec: MatVec, v: Hidden) -> Hidden: ...


def keep(w: Hidden, info: LowerInfo, matvec: MatVec, v: Hidden) -> Hidden:
    """Take the solution as it is: `solve_adjoint` reports on it where one asks."""
    return w


@with_exact_products
def solve_implicit(
    problem: Problem,
    solver: LowerSolver,
    h0: Any,
    u: Any,
    theta: Any,
    *,
    num_steps: int,
    damping: float = 0.0,
    linear_solver: LinearSolver = _CG,
    policy: AdjointPolicy = keep,
    tolerance: float = 1e-4,
) -> tuple[Hidden, LowerInfo]:
    """``h* = argmin_h F(h, u; theta, h0) + damping/2 ||h||^2``, differentiable in u, theta and h0.

    Runs `num_steps` steps of `solver` without gradients, then attaches the gradient of the implicit
    function theorem, which sees the problem and never the solver: eta and mu get no gradient, and
    h0 only as the h_prev of a problem that depends on it.

    Args:
      problem: an energy, or a residual together with a `linear_solver` for non-symmetric matrices.
      solver: any optax transformation.
      h0: the start, `[*batch, hidden]`, and the problem's h_prev.
      u: the drive; for `averaged` problems the pair (drives, weights).
      theta: the parameters of `problem`.
      num_steps: lower-level steps, >= 1.
      damping: >= 0, a constant. Without it a Hessian may be singular: ReLU's is, where units rest.
      linear_solver: `CG` where the damped Hessian is positive definite, else `BiCGStab`.
      policy: what to do with an adjoint solution that has not converged.
      tolerance: a sample has converged when ``||grad F|| <= tolerance``.

    Returns:
      h* and a `LowerInfo` of the forward solve.

    Raises:
      ValueError: a negative damping, an energy of the wrong shape or not twice differentiable.
    """
    check_counts(num_steps=num_steps)
    h0 = as_state(h0)
    u = as_numbers("drives", u) if isinstance(u, list | np.ndarray) else u
    data = ProblemData(*as_varying(u, theta, h0))
    check_twice_differentiable(problem, data.h_prev, data)
    problem = damped(problem, damping)

    def solve(data: ProblemData) -> Hidden:
        carry = init_carry(solver, data.h_prev)
        step = partial(lower_step, problem, solver, inner_steps=num_steps)
        return step(carry, data.u, data.theta).h

    h_star = without_gradient(solve, data)
    return differentiate_at(
        problem, h_star, data, linear_solver, policy, tolerance=tolerance, num_steps=num_steps
    )


@with_exact_products
def attach_gradient(
    problem: Problem,
    h: Hidden,
    u: Any,
    theta: Any,
    *,
    h_prev: Hidden | None = None,
    damping: float = 0.0,
    linear_solver: LinearSolver = _CG,
    policy: AdjointPolicy = keep,
    tolerance: float = 1e-4,
) -> tuple[Hidden, LowerInfo]:
    """`h` itself, with the gradient that a stationary point of the damped problem has at `h`.

    For solutions found by other means. Arguments as in `solve_implicit`; h_prev is 0 by default.

    Raises:
      ValueError: `h` is a concrete array and not stationary. Inside jit, look at the info.
    """
    h_prev = jnp.zeros_like(h) if h_prev is None else h_prev
    h, *rest = as_varying(h, u, theta, h_prev)
    data = ProblemData(*rest)
    check_twice_differentiable(problem, h, data)
    problem = damped(problem, damping)
    h, info = differentiate_at(problem, h, data, linear_solver, policy, tolerance=tolerance)
    if not isinstance(info.converged, jax.core.Tracer) and not jnp.all(info.converged):
        raise ValueError(
            f"expected a stationary h with ||grad F|| <= {tolerance:g}, got "
            f"{float(largest(info.grad_norm)):.3g}; solve longer, or use solve_implicit"
        )
    return h, info


@with_exact_products
def differentiate_at(
    problem: Problem,
    h: Hidden,
    data: ProblemData,
    linear_solver: LinearSolver,
    policy: AdjointPolicy = keep,
    *,
    tolerance: float = 1e-4,
    num_steps: Size = 0,
) -> tuple[Hidden, LowerInfo]:
    """`h` with the gradient of a stationary point of `problem`, and how far from one it is."""
    check_tolerance(tolerance)
    h = jax.lax.stop_gradient(h)
    problem, data = _with_closure_as_input(problem, h, data)
    h, data = as_varying(h, data)
    info = _report(problem, h, jax.lax.stop_gradient(data), num_steps, tolerance)
    return _attach(problem, linear_solver, policy, h, data), info


def _with_closure_as_input(
    problem: Problem, h: Hidden, data: ProblemData
) -> tuple[Problem, ProblemData]:
    """The problem with the numbers it closes over moved to theta: they get their gradient there."""
    kind = _ConvertedResidual if isinstance(problem, ResidualProblem) else _ConvertedEnergy
    evaluate = problem.residual if isinstance(problem, ResidualProblem) else problem
    converted, closed_over = jax.closure_convert(evaluate, h, *data)
    if not closed_over:
        return problem, data
    return kind(converted), data._replace(theta=(data.theta, closed_over))


@dataclass(frozen=True)
class _ConvertedEnergy:
    evaluate: Callable[..., Energy]

    def __call__(self, h: Hidden, u: Any, theta: Any, h_prev: Hidden) -> Energy:
        theta, closed_over = theta
        return self.evaluate(h, u, theta, h_prev, *closed_over)


@dataclass(frozen=True)
class _ConvertedResidual:
    evaluate: Callable[..., Hidden]

    def residual(self, h: Hidden, u: Any, theta: Any, h_prev: Hidden) -> Hidden:
        theta, closed_over = theta
        return self.evaluate(h, u, theta, h_prev, *closed_over)


@with_exact_products
def solve_adjoint(
    problem: Problem,
    h_star: Hidden,
    data: ProblemData,
    v: Hidden,
    linear_solver: LinearSolver = _CG,
) -> tuple[Hidden, LowerInfo]:
    """``(dr/dh)^T w = v`` at h*, and how well it was solved: the backward pass, to look at.

    `problem` is what was solved, `damped` where it was, and `data` all that it depends on.
    In the info, `value` is ``||(dr/dh)^T w - v|| / ||v||`` and `grad_norm` its numerator.
    """
    h_star, data, v = as_varying(h_star, data, v)

    def solve(matvec: MatVec, v: Hidden) -> tuple[Hidden, tuple[Array, Array]]:
        result: LinearSolution = linear_solver(matvec, v)
        return result.x, (result.residual_norm, result.num_steps)

    # So that a derivative of the solution is a solve as well, and not one of the iterations, which
    # do not move where v is 0.
    w, (residual_norm, num_steps) = jax.lax.custom_linear_solve(
        _transposed_jacobian(problem, h_star, data),
        v,
        solve,
        transpose_solve=solve,
        symmetric=not isinstance(problem, ResidualProblem),
        has_aux=True,
    )
    norm = norm_per_sample(v)[..., 0]
    relative = residual_norm / jnp.where(norm > 0, norm, 1)
    converged = relative <= _ROUNDING_SLACK * linear_solver.tolerance
    return w, LowerInfo(relative, residual_norm, num_steps, converged)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _attach(
    problem: Problem,
    linear_solver: LinearSolver,
    policy: AdjointPolicy,
    h_star: Hidden,
    data: ProblemData,
) -> Hidden:
    return h_star


def _attach_forward(
    problem: Problem,
    linear_solver: LinearSolver,
    policy: AdjointPolicy,
    h_star: Hidden,
    data: ProblemData,
) -> tuple[Hidden, tuple[Hidden, ProblemData]]:
    # h* again behind the rule: a second derivative passes through dh*/dp as well.
    h_star = _attach(problem, linear_solver, policy, h_star, data)
    return h_star, (h_star, data)


@with_exact_products
def _attach_backward(
    problem: Problem,
    linear_solver: LinearSolver,
    policy: AdjointPolicy,
    saved: tuple[Hidden, ProblemData],
    v: Hidden,
) -> tuple[Hidden, ProblemData]:
    h_star, data = saved
    w, info = solve_adjoint(problem, h_star, data, v, linear_solver)
    w = policy(w, info, _transposed_jacobian(problem, h_star, data), v)
    return jnp.zeros_like(h_star), _pull_inputs(problem, h_star, data, -w)


_attach.defvjp(_attach_forward, _attach_backward)


def _transposed_jacobian(problem: Problem, h: Hidden, data: ProblemData) -> MatVec:
    """``w -> (dr/dh)^T w``, for an energy the Hessian's product, forward over reverse.

    Forward mode stores nothing between products, so that their memory is that of one gradient.
    """

    def residual(h: Hidden) -> Hidden:
        return lower_gradient(problem, h, *data)

    if isinstance(problem, ResidualProblem):
        _, pull = jax.vjp(residual, h)
        return lambda w: pull(w)[0]
    return lambda w: jax.jvp(residual, (h,), (w,))[1]


def _pull_inputs(problem: Problem, h: Hidden, data: ProblemData, w: Hidden) -> ProblemData:
    """``(dr/dp)^T w`` for all its data p: the gradient in p of the number ``w . r(h, p)``.

    For an energy that number is a directional derivative, taken forward without forming r.
    """

    def along(data: ProblemData) -> jax.Array:
        if isinstance(problem, ResidualProblem):
            return jnp.sum(w * problem.residual(h, *data))
        return jax.jvp(lambda h: jnp.sum(problem(h, *data)), (h,), (w,))[1]

    value, pull = jax.vjp(along, data)  # jax.grad refuses data of whole numbers
    (pulled,) = pull(jnp.ones_like(value))
    return pulled


def without_gradient(solve: Callable[[ProblemData], Result], data: ProblemData) -> Result:
    """Run `solve` with every number stopped, those in its closure included (learned eta and mu)."""
    converted, closed_over = jax.closure_convert(solve, data)
    data, closed_over = jax.lax.stop_gradient((data, closed_over))
    return converted(data, *closed_over)


def _report(
    problem: Problem, h: Hidden, data: ProblemData, num_steps: Size, tolerance: float
) -> LowerInfo:
    gradient = lower_gradient(problem, h, *data)
    grad_norm = jnp.linalg.norm(gradient, axis=-1)
    half_square = 0.5 * grad_norm**2  # the energy of a problem that has none
    value = half_square if isinstance(problem, ResidualProblem) else problem(h, *data)
    return LowerInfo(value, grad_norm, jnp.asarray(num_steps), grad_norm <= float(tolerance))


def check_twice_differentiable(problem: Problem, h: Hidden, data: ProblemData) -> None:
    """ValueError unless the problem has one value per sample and second derivatives in h."""
    check_energy(problem, h, *data)

    def hessian_product(h: Hidden) -> Any:
        return jax.vjp(lambda h: lower_gradient(problem, h, *data), h)[1](h)

    try:
        jax.eval_shape(hessian_product, h)
    except (TypeError, NotImplementedError, ValueError) as error:
        raise ValueError(
            f"expected a problem that is twice differentiable in h, got {problem}: {error}"
        ) from error
