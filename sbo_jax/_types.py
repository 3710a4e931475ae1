"""Names for the objects of the lower level; no logic.

Shapes follow jaxtyping: ``*batch`` is any number of leading batch axes (none included), ``hidden``
is D, the number of hidden units. Hidden states are row vectors, so the recurrent map is ``h W``.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

AnyArray: TypeAlias = Array | np.ndarray
Hidden: TypeAlias = Float[Array, "*batch hidden"]
# A hidden state per value, which share the keys; see `Recall`.
Memory: TypeAlias = Float[Array, "*batch values keys"]
Drive: TypeAlias = Float[Array, "*batch hidden"]
Energy: TypeAlias = Float[Array, "*batch"]
Input: TypeAlias = Shaped[AnyArray, "*batch inputs"]
InputSequence: TypeAlias = Shaped[AnyArray, "time *batch inputs"]
HiddenSequence: TypeAlias = Float[Array, "time *batch hidden"]
DriveSequence: TypeAlias = Float[Array, "time *batch hidden"]
MaskSequence: TypeAlias = Bool[Array, "time *batch"]
ScalarArray: TypeAlias = Float[Array, ""]
Hyperparameter: TypeAlias = Float[Array, ""] | Float[Array, " hidden"]
# A whole number, or a size that jax.export leaves open.
Size: TypeAlias = Any

PRNGKey: TypeAlias = Key[Array, ""] | Shaped[Array, "2"]

Activation: TypeAlias = Callable[[Array], Array]
AxisScale: TypeAlias = Literal["linear", "log"]
LowerSolver: TypeAlias = optax.GradientTransformation
MakeDrives: TypeAlias = Callable[[Any], DriveSequence]


class LowerCarry(NamedTuple):
    """What one time step hands to the next: the iterate and the state of its optimiser.

    Every leaf has the batch axes of ``h`` in front.
    """

    h: Hidden
    solver_state: Any


class LowerInfo(NamedTuple):
    """What a solve reports, for every sample; never carried."""

    value: Float[Array, "*batch"]
    grad_norm: Float[Array, "*batch"]
    num_steps: Int[Array, ""]
    converged: Bool[Array, "*batch"]


class ParallelInfo(NamedTuple):
    """How the parallel solve went, per sample; if one fails, the batch is read step by step.

    Args:
      residual: largest ``|f(c_{t-1}, u_t) - c_t|`` over time and units, relative to 1 + the size
        of c_{t-1} and c_t there, before the last correction.
      num_iterations: Newton corrections until the last sample was done, or its states were NaN.
      converged: the residual is at rounding level, the last correction below its square root, and
        units do not interact.
    """

    residual: Float[Array, "*batch"]
    num_iterations: Int[Array, ""]
    converged: Bool[Array, "*batch"]


@runtime_checkable
class LowerProblem(Protocol):
    """An energy ``F(h, u; theta, h_prev) -> [*batch]``; frozen and hashable, so jit can key on it.

    ``u = x V + b`` is the drive, not the input: a layer forms it for all time steps in one product.
    For a problem that reads more than one array it is a dict or a NamedTuple of them. ``h_prev`` is
    the state at the start of the time step, constant during its inner steps.
    """

    def __call__(self, h: Hidden, u: Any, theta: Any, h_prev: Hidden) -> Energy: ...


@runtime_checkable
class ResidualProblem(Protocol):
    """A lower-level problem that is not the gradient of an energy: it states ``r(h) = 0``."""

    def residual(self, h: Hidden, u: Drive, theta: Any, h_prev: Hidden) -> Hidden: ...


@runtime_checkable
class Operator(Protocol):
    """The recurrent map ``h -> h W``: a pytree of arrays that knows bounds on itself.

    ``units_interact`` is False where W is diagonal: no unit then depends on another.
    """

    units_interact: ClassVar[bool]

    @property
    def num_parameters(self) -> int: ...

    def __call__(self, h: Hidden) -> Hidden: ...

    def gap(self, alpha: float) -> ScalarArray: ...

    def curvature(self, alpha: float) -> ScalarArray: ...
