"""SBO-RNN as a Flax cell: parameters and initialisers around `lower_step`."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer

from .._checks import as_numbers, check_counts
from .._streams import check_streams
from .._types import (
    Drive,
    DriveSequence,
    Hidden,
    Hyperparameter,
    LowerCarry,
    LowerSolver,
    ScalarArray,
    Size,
)
from ..lower.energies import smoothness_of
from ..lower.hyperparameters import Fixed, LowerHyperparameter, check_ranges
from ..lower.level import STABLE, LowerLevel
from ..lower.operators import check_product_dtype, product, uniform, with_product_dtype
from ..lower.step import as_carry, init_carry, lower_step
from .validity import check_features


class LowerHyper(nnx.Variable):
    """A lower-level hyper-parameter that is not trained: `nnx.Param` filters skip it."""


class TrainedLowerHyper(nnx.Param):
    """A lower-level hyper-parameter that is trained, told by its type from any other parameter."""


class SBOCell(nnx.RNNCellBase):
    """``h_t = h_{t-1} - eta grad_h F(h_{t-1}, x_t V + b; theta)``, or the same with momentum.

    One time step is one step of the lower level's solver on its energy. The carry holds h and the
    solver's state; it fits `nnx.RNN` and `nnx.Bidirectional`. `SBORNN` computes the same and is
    faster: it forms all drives in one product and the bound L once per sequence.

    Args:
      in_features: d, numbers per input.
      hidden_features: D, hidden units.
      lower: energy, solver and hyper-parameters; see `PAPER` and `STABLE`.
      inner_steps: lower-level steps per input.
      param_dtype: of parameters, drive, hidden state and solver state; inputs are cast to it. In
        bfloat16 a step with the paper's eta would round to zero.
      dtype: of matrix products, forward and backward, for example bfloat16; by default
        `param_dtype`. The identity part of W, the states and sums over a loop in time keep
        `param_dtype`; a gradient that is one product over all steps, like that of V, is rounded
        once at the end.
      rngs: the stream `params` draws V and b from U(-1/sqrt(D), 1/sqrt(D)), and theta as
        ``lower.operator`` says.

    Raises:
      ValueError: a dtype other than bfloat16, float32 and float64, a rank above
        `hidden_features`, a hyper-parameter outside its range, or a normalised eta for an
        energy without a known bound.

    Source: Zhang et al. 2021, eqs. 6-9.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int = 128,
        *,
        lower: LowerLevel = STABLE,
        inner_steps: int = 1,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_counts(
            in_features=in_features, hidden_features=hidden_features, inner_steps=inner_steps
        )
        if not isinstance(lower, LowerLevel):
            raise ValueError(f"expected lower as a LowerLevel like STABLE, got {lower!r}")
        check_streams(rngs, "params")
        check_product_dtype(param_dtype)
        if dtype is not None:
            check_product_dtype(dtype)

        def draw(*shape: int) -> nnx.Param:
            return nnx.Param(uniform(rngs.params(), shape, hidden_features, param_dtype))

        self.in_features = in_features
        self.hidden_features = hidden_features
        self.inner_steps = inner_steps
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.problem = lower.problem
        self.solver = lower.solver
        self.kernel = draw(in_features, hidden_features)
        self.bias = draw(hidden_features)
        theta = lower.operator(rngs.params(), hidden_features, param_dtype)
        theta = with_product_dtype(theta, dtype)
        self.theta = nnx.data(jax.tree.map(nnx.Param, theta))
        self.eta = self._variable(lower.eta)
        self.mu = self._variable(lower.mu) if lower.takes_mu else nnx.data(None)
        self.resolve_eta, self.resolve_mu = lower.eta.resolve, lower.mu.resolve
        check_ranges(*self.hyperparameters())

    def _variable(self, hyper: LowerHyperparameter) -> nnx.Variable:
        kind = TrainedLowerHyper if hyper.trained else LowerHyper
        return kind(hyper.init(self.hidden_features, self.param_dtype))

    def smoothness(self, damping: float = 0.0) -> ScalarArray:
        """L, the bound on the damped energy's Hessian at the current parameters.

        Raises:
          ValueError: no bound is known for the energy.
        """
        return smoothness_of(self.problem, nnx.as_pure(self.theta)) + float(damping)

    def hyperparameters(self, damping: float = 0.0) -> tuple[Hyperparameter, ...]:
        """``(eta,)`` or ``(eta, mu)`` at the current parameters, L raised by `damping`."""
        smoothness = partial(self.smoothness, damping)
        eta = self.resolve_eta(self.eta[...], smoothness)
        if self.mu is None:
            return (eta,)
        return eta, self.resolve_mu(self.mu[...], smoothness)

    def fix_hyperparameters(self, damping: float = 0.0) -> None:
        """Make eta and mu constants, the numbers that they now stand for: no step computes L."""
        eta, *mu = self.hyperparameters(damping)
        self.eta, self.resolve_eta = LowerHyper(eta), Fixed.resolve
        if mu:
            self.mu, self.resolve_mu = LowerHyper(mu[0]), Fixed.resolve

    def lower_solver(self, damping: float = 0.0) -> LowerSolver:
        """The solver for the energy damped by `damping`, at the current parameters."""
        return self.solver(*self.hyperparameters(damping))

    def drive(self, inputs: Any) -> Drive | DriveSequence:
        """``u = x V + b``, for one time step or for all of them in one product."""
        inputs = as_numbers("inputs", inputs)
        check_features(inputs, self.in_features)
        xs = jnp.asarray(inputs, self.param_dtype)
        us = product(xs, self.kernel[...], self.dtype)
        return us + jnp.broadcast_to(self.bias[...], us.shape)

    def initialize_carry(
        self,
        input_shape: tuple[Size, ...],
        rngs: nnx.Rngs | nnx.RngStream | None = None,
        carry_init: Initializer | None = None,
    ) -> LowerCarry:
        """h_0 = 0, or drawn by `carry_init`, and a fresh solver state; no time in `input_shape`."""
        shape = (*input_shape[:-1], self.hidden_features)
        if carry_init is None:
            h0 = jnp.zeros(shape, self.param_dtype)
        else:
            if rngs is None:
                raise ValueError("expected rngs together with carry_init, got None")
            key = rngs.carry() if isinstance(rngs, nnx.Rngs) else rngs()
            h0 = carry_init(key, shape, self.param_dtype)
        return init_carry(self.lower_solver(), h0)

    def check_carry(
        self, solver: LowerSolver, carry: Any, batch_shape: tuple[Size, ...]
    ) -> LowerCarry:
        """The carry itself; ValueError unless it is one of this cell, for a batch of this shape."""
        carry = as_carry(solver, carry)
        shape = (*batch_shape, self.hidden_features)
        dtype = jax.dtypes.canonicalize_dtype(self.param_dtype)
        if carry.h.shape != shape or jnp.result_type(carry.h) != dtype:
            raise ValueError(
                f"expected a carry with h of shape {shape} in {dtype}, got {carry.h.shape} in "
                f"{carry.h.dtype}; try initialize_carry"
            )
        return carry

    def __call__(self, carry: LowerCarry, inputs: Any) -> tuple[LowerCarry, Hidden]:
        solver, u = self.lower_solver(), self.drive(inputs)
        carry = self.check_carry(solver, carry, u.shape[:-1])
        carry = lower_step(
            self.problem,
            solver,
            carry,
            u,
            nnx.as_pure(self.theta),
            inner_steps=self.inner_steps,
        )
        return carry, carry.h

    @property
    def num_feature_axes(self) -> int:
        return 1
