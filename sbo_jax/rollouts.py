"""How a layer reads a sequence and what is differentiated: through the steps, or at the solution.

A rollout is a frozen, hashable function ``Reading -> (carry, hs, info)``. `SBORNN` takes one.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from ._fused import unroll_fused
from ._implicit import (
    AdjointPolicy,
    Inputs,
    differentiate_at,
    keep,
    solve_implicit,
    without_gradient,
)
from ._krylov import CG, LinearSolver
from ._parallel import ParallelInfo, unroll_parallel
from ._types import (
    DriveSequence,
    Hidden,
    HiddenSequence,
    LowerCarry,
    LowerInfo,
    LowerSolver,
    MaskSequence,
)
from ._unroll import MakeDrives, check_counts, init_carry, unroll, where_valid
from .equilibria import Problem, averaged, check_damping, damped
from .operators import Diagonal, Scalar

RolloutInfo: TypeAlias = LowerInfo | ParallelInfo | None
RolloutResult: TypeAlias = tuple[LowerCarry, HiddenSequence, RolloutInfo]

_CG = CG()
# Above which recomputing states was as fast as keeping them, on CPU (docs/speed.md); without matrix
# products it is faster as soon as they leave the cache.
_KEEP_ALL_BYTES, _KEEP_CHEAP_BYTES = 256 * 2**20, 8 * 2**20
_COUNTS = ("num_steps", "passes", "chunk")


class Reading(NamedTuple):
    """A sequence to read, time-major, and all it takes to read it.

    Args:
      problem: the lower-level energy.
      solver: any optax transformation.
      carry: before the first input.
      xs: the drives, or the inputs that `drive` makes them of.
      theta: the parameters of `problem`.
      mask: where False, a step leaves h and the solver state untouched.
      drive: ``[time, *batch, inputs] -> [time, *batch, hidden]``, of any number of steps.
    """

    problem: Problem
    solver: LowerSolver
    carry: LowerCarry
    xs: Shaped[Array, "time *batch inputs"]
    theta: Any
    mask: MaskSequence | None = None
    drive: MakeDrives | None = None

    @property
    def us(self) -> DriveSequence:
        """The drives of all steps, in one product."""
        return self.xs if self.drive is None else self.drive(self.xs)


@runtime_checkable
class Rollout(Protocol):
    """See the module's docstring; `info` is None where nothing is solved for.

    The solver handed to a rollout is normalised for the energy damped by ``damping``.
    """

    @property
    def damping(self) -> float: ...

    def __call__(self, reading: Reading) -> RolloutResult: ...


@dataclass(frozen=True)
class Unrolled:
    """One or several steps per input, differentiated through all of them; see `unroll`.

    Args:
      inner_steps: lower-level steps per input.
      scan_unroll: steps per iteration of the compiled loop.
      remat_chunk: see `unroll`. By default sqrt(T) where the hidden states of all steps take more
        than 256 MiB, 8 MiB for `Diagonal` and `Scalar`: below, keeping them is faster. T or more
        steps switch it off.
    """

    inner_steps: int = 1
    scan_unroll: int = 1
    remat_chunk: int | None = None
    damping: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        check_counts(inner_steps=self.inner_steps, scan_unroll=self.scan_unroll)
        if self.remat_chunk is not None:
            check_counts(remat_chunk=self.remat_chunk)

    def __call__(self, reading: Reading) -> RolloutResult:
        problem, solver, carry, xs, theta, mask, drive = reading
        chunk = self.remat_chunk or default_chunk(len(xs), carry.h, theta)
        carry, hs = unroll(
            problem,
            solver,
            carry,
            xs,
            theta,
            mask=mask,
            drive=drive,
            inner_steps=self.inner_steps,
            scan_unroll=self.scan_unroll,
            remat_chunk=chunk,
        )
        return carry, hs, None


@dataclass(frozen=True)
class Parallel:
    """What `Unrolled` computes, in O(log T) depth, for `Diagonal` and `Scalar` operators.

    See `unroll_parallel`; the info is its `ParallelInfo`.
    """

    inner_steps: int = 1
    max_iterations: int = 50
    damping: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        check_counts(**vars(self))

    def __call__(self, reading: Reading) -> RolloutResult:
        problem, solver, carry, _, theta, mask, _ = reading
        return unroll_parallel(problem, solver, carry, reading.us, theta, mask=mask, **vars(self))


@dataclass(frozen=True)
class Fused:
    """What `Unrolled` computes, by one GPU kernel forward and one backward; see `unroll_fused`."""

    batch_block: int = 16
    interpret: bool = False
    damping: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        check_counts(batch_block=self.batch_block)

    def __call__(self, reading: Reading) -> RolloutResult:
        problem, solver, carry, _, theta, mask, _ = reading
        carry, hs = unroll_fused(problem, solver, carry, reading.us, theta, mask=mask, **vars(self))
        return carry, hs, None


@dataclass(frozen=True, kw_only=True)
class _Implicit:
    """What all implicit rollouts share; see `solve_implicit`."""

    damping: float = 0.1
    linear_solver: LinearSolver = _CG
    policy: AdjointPolicy = keep
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        check_damping(self.damping)
        check_counts(**{name: n for name, n in vars(self).items() if name in _COUNTS})
        if not self.tolerance >= 0:
            raise ValueError(f"expected tolerance >= 0, got {self.tolerance:g}; try 1e-4")


@dataclass(frozen=True, kw_only=True)
class SequenceEquilibrium(_Implicit):
    """``h* = argmin_h (1/T) sum_t F(h, u_t) + damping/2 ||h||^2``, one state for the sequence.

    Forward and adjoint are parallel over t, and memory does not grow with `num_steps`. The order of
    the inputs plays no part: it is a model of sets, unless x_t tells its time. The outputs are h*
    at every step.
    """

    num_steps: int = 30

    def __call__(self, reading: Reading) -> RolloutResult:
        problem, solver, carry, _, theta, mask, _ = reading
        us = reading.us
        u = (us, _weights(us, mask))
        h, info = solve_implicit(averaged(problem), solver, carry.h, u, theta, **vars(self))
        return init_carry(solver, h), jnp.broadcast_to(h, us.shape), info


@dataclass(frozen=True, kw_only=True)
class StepEquilibrium(_Implicit):
    """``h_t = argmin_h F(h, u_t; theta, h_{t-1}) + damping/2 ||h||^2``: each input solved out.

    The gradient reaches back through h_{t-1} only where the energy depends on it (`Transition`,
    `IncrementalEquilibrium`); with `Residual`, h_t is a function of u_t alone. The info has a
    leading time axis.
    """

    num_steps: int = 30

    def __call__(self, reading: Reading) -> RolloutResult:
        problem, solver, carry, _, theta, mask, _ = reading

        def step(carry: LowerCarry, inputs: Any) -> tuple[LowerCarry, Any]:
            u, valid = inputs
            h, info = solve_implicit(problem, solver, carry.h, u, theta, **vars(self))
            new = where_valid(valid, init_carry(solver, h), carry)
            return new, (new.h, info)

        carry, (hs, info) = jax.lax.scan(step, carry, (reading.us, mask))
        return carry, hs, info


@dataclass(frozen=True, kw_only=True)
class Streamed(_Implicit):
    """The paper's forward rollout, its gradient taken at the end point by the implicit theorem.

    Reads the sequence `passes` times, one step per input on the damped energy, then differentiates
    as if h_T were stationary for the average energy of `SequenceEquilibrium`. How far it is from
    that, and so how biased the gradient, the info says. The backward pass looks at `chunk` steps
    at a time: beside the drives and their cotangents, its memory does not grow with T. The outputs
    are h_T at every step.

    Wants small steps, little momentum and several passes: with one pass and the preset
    `EQUILIBRIUM` it did not learn the adding task.
    """

    passes: int = 1
    chunk: int = 64

    def __call__(self, reading: Reading) -> RolloutResult:
        problem, solver, carry, _, theta, mask, _ = reading
        problem, us = damped(problem, self.damping), reading.us

        def read(inputs: Inputs) -> LowerCarry:
            def one_pass(_: Any, carry: LowerCarry) -> LowerCarry:
                return unroll(problem, solver, carry, inputs.u, inputs.theta, mask=mask)[0]

            return jax.lax.fori_loop(0, self.passes, one_pass, inputs.h_prev)

        end = without_gradient(read, Inputs(us, theta, carry))
        inputs = Inputs((us, _weights(us, mask)), theta, carry.h)
        h, info = differentiate_at(
            averaged(problem, self.chunk),
            end.h,
            inputs,
            self.linear_solver,
            self.policy,
            tolerance=self.tolerance,
            num_steps=self.passes * len(us),
        )
        return LowerCarry(h, end.solver_state), jnp.broadcast_to(h, us.shape), info


def _weights(us: DriveSequence, mask: MaskSequence | None) -> jax.Array:
    return jnp.ones(us.shape[:-1], us.dtype) if mask is None else mask.astype(us.dtype)


def default_chunk(num_steps: int, h: Hidden | jax.ShapeDtypeStruct, theta: Any) -> int | None:
    """sqrt(T) steps, which keeps the least, where the states of all T steps would take too much."""
    cheap = isinstance(theta, Diagonal | Scalar)
    limit = _KEEP_CHEAP_BYTES if cheap else _KEEP_ALL_BYTES
    total = num_steps * h.size * h.dtype.itemsize
    return math.isqrt(num_steps) if total > limit else None
