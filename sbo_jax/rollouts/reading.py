"""How a layer reads a sequence, and what is differentiated: all steps, or the solution.

A rollout is a frozen, hashable function ``Reading -> (carry, hs, info)``. `SBORNN` takes one.
"""

from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp

from .._checks import as_numbers
from .._types import (
    HiddenSequence,
    LowerCarry,
    LowerInfo,
    LowerProblem,
    LowerSolver,
    MakeDrives,
    MaskSequence,
    ParallelInfo,
    ResidualProblem,
    Size,
)
from ..lower.composed import Problem
from ..lower.step import check_energy

RolloutInfo: TypeAlias = LowerInfo | ParallelInfo | None
RolloutResult: TypeAlias = tuple[LowerCarry, HiddenSequence, RolloutInfo]
# Any tree of arrays with the batch axes in front.
_Carry = TypeVar("_Carry")


class Reading(NamedTuple):
    """A time-major sequence and all that is needed to read it.

    Args:
      problem: the lower-level energy.
      solver: any optax transformation.
      carry: before the first input.
      xs: the drives, or the inputs from which `drive` computes them, `[time, *batch, inputs]`; a
        dict or a NamedTuple of arrays for a problem that takes one.
      theta: the parameters of `problem`.
      mask: where False, a step leaves h and the solver state untouched.
      drive: ``[time, *batch, inputs] -> [time, *batch, hidden]`` for any number of steps.
    """

    problem: Problem
    solver: LowerSolver
    carry: LowerCarry
    xs: Any
    theta: Any
    mask: MaskSequence | None = None
    drive: MakeDrives | None = None

    @property
    def us(self) -> Any:
        """The drives of all steps, in one product."""
        return self.xs if self.drive is None else self.drive(self.xs)

    @property
    def driven(self) -> tuple[Problem, LowerSolver, LowerCarry, Any, Any, MaskSequence | None]:
        """Problem, solver, carry, the drives of all steps, theta and mask."""
        return self.problem, self.solver, self.carry, self.us, self.theta, self.mask


@runtime_checkable
class Rollout(Protocol):
    """``Reading -> (carry, hs, info)``; the info is None where no equation is solved.

    A layer normalises the solver's eta for the energy damped by ``damping``. Where ``causal``, h_t
    is a function of the inputs up to t.
    """

    @property
    def damping(self) -> float: ...

    @property
    def causal(self) -> bool: ...

    def __call__(self, reading: Reading) -> RolloutResult: ...


def where_valid(valid: jax.Array | None, new: _Carry, old: _Carry) -> _Carry:
    """The new carry where a step is valid, the old one where it is masked."""
    if valid is None:
        return new

    def select(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(jnp.expand_dims(valid, range(valid.ndim, new.ndim)), new, old)

    return jax.tree.map(select, new, old)


def step_by_step(rollout: Rollout) -> Rollout:
    """A rollout with the same states that is meant for one step at a time.

    `Parallel` and `Fused` name one, ``rollout.step_by_step``: they pay for long sequences alone.
    """
    return getattr(rollout, "step_by_step", rollout)


def as_steps(us: Any) -> Any:
    """Drives, or what they are computed from, as arrays; a dict or a NamedTuple of them stays one.

    Raises:
      ValueError: what is no array of real numbers.
    """
    if isinstance(us, dict) or hasattr(us, "_fields"):
        return jax.tree.map(lambda leaf: jnp.asarray(as_numbers("drives", leaf)), us)
    return as_numbers("drives", us)


def check_mask(
    mask: jax.Array | None, shape: tuple[Size, ...], meaning: str = "shape [time, *batch]"
) -> None:
    """ValueError unless a mask has this shape and is of bool."""
    if mask is None:
        return
    if mask.shape != shape:
        raise ValueError(f"expected a mask of {meaning}, {shape}, got {mask.shape}")
    if mask.dtype != bool:
        raise ValueError(f"expected a mask of bool, got {mask.dtype}; try mask > 0")


_BY_UNROLL = "export with unroll (Unrolled), which computes the same"


def check_known_sizes(expected: str, sizes: tuple[Size, ...], advice: str = _BY_UNROLL) -> None:
    """ValueError for a size that `jax.export` leaves open."""
    still_open = [str(size) for size in sizes if not isinstance(size, int)]
    if still_open:
        raise ValueError(f"expected {expected}, got {' and '.join(still_open)}; {advice}")


def check_rollout(
    problem: LowerProblem | ResidualProblem,
    h0: jax.Array,
    us: Any,
    theta: Any,
    mask: jax.Array | None,
) -> None:
    """ValueError for shapes that broadcasting would hide, or a problem of the wrong shape."""
    if hasattr(us, "shape"):
        if us.shape[1:] != h0.shape:
            raise ValueError(
                f"expected drives of shape [time, *batch, hidden] with [*batch, hidden] = "
                f"{h0.shape}, the shape of h0, got {us.shape}; drives are x_t V + b, time-major"
            )
        check_mask(mask, us.shape[:-1])
    else:
        _check_tree(us, h0, mask)
    first = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), us)
    check_energy(problem, h0, first, theta, h0)


def _check_tree(us: Any, h0: jax.Array, mask: jax.Array | None) -> None:
    """ValueError unless arrays have the same steps, and a mask these and batch axes of `h0`."""
    shapes = [leaf.shape for leaf in jax.tree.leaves(us)]
    if len({shape[:1] for shape in shapes}) != 1 or not shapes[0]:
        raise ValueError(f"expected drives of equally many time steps, got arrays of {shapes}")
    if mask is not None:
        axes = min(mask.ndim, h0.ndim) - 1
        check_mask(mask, (*shapes[0][:1], *h0.shape[:axes]))
