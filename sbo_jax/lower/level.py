"""The lower level as one object, and three presets.

A lower level is what happens inside one time step: the energy, the optimiser that descends it, its
hyper-parameters and how its operator is drawn. Change a part with `dataclasses.replace`.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from .._types import LowerProblem, LowerSolver, Operator
from .energies import Residual
from .hyperparameters import (
    Bounded,
    Fixed,
    Learned,
    LinSpaced,
    LogSpaced,
    LowerHyperparameter,
    Normalised,
)
from .operators import Dense, LowRank
from .solvers import heavy_ball, nesterov, sgd


@dataclass(frozen=True)
class LowerLevel:
    """A lower-level problem and how it is solved.

    Args:
      solver: ``eta -> optax.GradientTransformation``, or ``(eta, mu)`` where its second argument is
        called mu. To train through it, it must be differentiable where the gradient is exactly
        0, as a dead ReLU makes it: ``partial(optax.adam, eps_root=1e-12)``, not `optax.adam`.
      eta: the lower-level step size, > 0.
      mu: the momentum, in [0, 1); ignored by a solver without one.
      operator: draws the recurrent map, ``(key, features, dtype) -> operator``.
      problem: the energy.
    """

    solver: Callable[..., LowerSolver]
    eta: LowerHyperparameter
    mu: LowerHyperparameter
    operator: Callable[..., Operator] = LowRank.init
    problem: LowerProblem = field(default_factory=Residual)

    def __post_init__(self) -> None:
        for name in ("eta", "mu"):
            value = getattr(self, name)
            if not isinstance(value, LowerHyperparameter):
                raise ValueError(f"expected {name} as Fixed({value!r}) or similar, got {value!r}")
        for name in ("solver", "operator"):
            value = getattr(self, name)
            if not callable(value):
                raise ValueError(
                    f"expected {name} as a function like nesterov or LowRank.init, got {value!r}"
                )
        self._check_solver()
        if isinstance(self.operator, type) and hasattr(self.operator, "init"):
            name = self.operator.__name__
            raise ValueError(f"expected operator as a function, got {name}; try {name}.init")
        if isinstance(self.problem, type):
            name = self.problem.__name__
            raise ValueError(f"expected problem as an object, got {name}; try {name}()")

    def _check_solver(self) -> None:
        """ValueError unless the solver can be called as the cell will call it."""
        signature = inspect.signature(self.solver)
        try:
            bound = signature.bind(*["eta", "mu"][: 1 + self.takes_mu])
            if self.takes_mu and bound.arguments.get("mu") != "mu":
                raise TypeError("mu is not the second argument")
        except TypeError as error:
            raise ValueError(
                f"expected solver as a function of eta, or of eta and mu, got one of {signature}; "
                f"try functools.partial for other arguments"
            ) from error

    @property
    def takes_mu(self) -> bool:
        return "mu" in inspect.signature(self.solver).parameters


PAPER = LowerLevel(solver=sgd, eta=Fixed(1e-3), mu=Learned(0.5))
"""The published model: SGD, eta = 1e-3 fixed, W = I + U V of rank 50; with momentum, mu = 0.5
learned without a bound. The authors' release never trains W; here U and V are trained."""

STABLE = LowerLevel(
    solver=heavy_ball,
    eta=Normalised(LogSpaced(1e-4, 0.95)),
    mu=Bounded(LinSpaced(0.9, 0.7)),
    operator=Dense.init,
)
"""The default: heavy ball with dense W and eta = s / L(theta), s log-spaced from 1e-4 to 0.95 over
the units, and mu from 0.9 for the slow units to 0.7 for the fast ones; both are learned per unit
and cannot leave their bounds. With momentum a unit moves, and forgets, at the rate s / (1 - mu):
1e-3 per step for the slowest, so that a gradient survives a thousand steps. The fast units get less
momentum because there large steps with much of it make products of steps explode in some draws of
the weights, and of a W of low rank in more."""

OSCILLATING = replace(STABLE, mu=Bounded(LinSpaced(0.99, 0.9)))
"""`STABLE` with more momentum, mu from 0.99 for the slow units to 0.9 for the fast ones. Every unit
starts underdamped where the curvature is L: it swings, with one period in 700 steps to one in six,
where the slow units of `STABLE` only decay. Learns images pixel by pixel faster. Gradients are less
even: over 1,000 random inputs by a factor of 5 to 220, and in two of 54 draws they explode.
Amplitudes fall to 1 / e within 200 steps, so `STABLE` is the one to remember longer than that."""

EQUILIBRIUM = LowerLevel(solver=nesterov, eta=Normalised(0.9), mu=Fixed(0.8))
"""For implicit rollouts: one eta = 0.9 / L(theta) and mu = 0.8 for all units. Implicit gradients do
not train the 0.9, since a solution does not depend on how it was found; `Unrolled` does. The
activation is ReLU because its L is known: with softplus a fixed eta diverged in training as L grew.
At kinks the implicit gradient is biased, and the info says so; where it must be exact, choose a
smooth phi and state its bound."""
