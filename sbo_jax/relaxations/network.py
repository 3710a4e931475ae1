"""What is relaxed: a transition and a loss, and the residual between states and transition."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from .._types import Hidden, HiddenSequence, Input, InputSequence, ScalarArray
from .._varying import as_varying, vary, varying_axes

Params: TypeAlias = Any
Targets: TypeAlias = Any
Outputs: TypeAlias = Float[Array, "batch outputs"]
PerSample: TypeAlias = Float[Array, " batch"]
StateUpdate: TypeAlias = Callable[[Hidden, Input], Hidden]
Average: TypeAlias = Callable[[Any], Any]


class Network(NamedTuple):
    """A recurrent network as pure functions of its parameters.

    Args:
      transition: ``params -> f``, ``f(h_{t-1}, x_t) -> h_t`` for any batch axes: relaxed time steps
        form one batch. Whatever all steps share is computed once, when f is made.
      readout: ``(params, h_T) -> outputs``.
      loss: ``(outputs, targets) -> [batch]``, convex in the outputs for `gauss_newton`.
      num_units: the width of a state.
    """

    transition: Callable[[Params], StateUpdate]
    readout: Callable[[Params, Hidden], Outputs]
    loss: Callable[[Any, Any], Array]
    num_units: int


class RelaxedInfo(NamedTuple):
    """What a step reports, at the parameters before it.

    ``outputs`` are those of the true recursion, ``relaxed_outputs`` of the relaxed h_T. The
    residuals are the mean and the maximum over t of ``||r_t||``, averaged over samples.
    """

    outputs: Outputs
    relaxed_outputs: Outputs
    residual_mean: ScalarArray
    residual_max: ScalarArray
    penalty: ScalarArray


class Relaxation(NamedTuple):
    """A training method: ``init(params) -> state``, and a step that updates both.

    ``step(network, params, state, xs, targets, average) -> (params, state, RelaxedInfo)`` with
    time-major inputs. `average` averages over devices; on a single one it is the identity.
    """

    init: Callable[[Params], Any]
    step: Callable[..., tuple[Params, Any, RelaxedInfo]]


class Subproblem(NamedTuple):
    """The objective of one batch; ``multipliers`` p_t are zero for a pure penalty."""

    network: Network
    params: Params
    xs: InputSequence
    targets: Targets
    penalty: ScalarArray
    multipliers: HiddenSequence

    def loss(self, hs: HiddenSequence) -> PerSample:
        """``l(h_T, y)``."""
        outputs = self.network.readout(self.params, hs[-1])
        return self.network.loss(outputs, self.targets)

    def residual(self, hs: HiddenSequence) -> HiddenSequence:
        """``r_t = h_t - f(h_{t-1}, x_t)``."""
        return residual(self.network, self.params, hs, self.xs)

    def merit(self, hs: HiddenSequence) -> PerSample:
        """``l(h_T, y) + sum_t p_t . r_t + lam/2 ||r_t||^2``."""
        r = self.residual(hs)
        coupling = (self.multipliers + 0.5 * self.penalty * r) * r
        return self.loss(hs) + jnp.sum(coupling, axis=(0, -1))

    def params_gradient(self, hs: HiddenSequence) -> Params:
        """The gradient of the mean merit at fixed states: no time step depends on another."""

        def mean(params: Params) -> ScalarArray:
            return jnp.mean(self._replace(params=params).merit(hs))

        return jax.grad(mean)(vary(self.params, varying_axes(hs)))


def read(network: Network, params: Params, xs: InputSequence) -> HiddenSequence:
    """The true recursion from h_0 = 0."""
    step = network.transition(params)
    h0 = _start(network, params, xs)

    def body(h: Hidden, x: Any) -> tuple[Hidden, Hidden]:
        h = step(h, x)
        return h, h

    return jax.lax.scan(body, h0, xs)[1]


def residual(
    network: Network, params: Params, hs: HiddenSequence, xs: InputSequence
) -> HiddenSequence:
    """``h_t - f(h_{t-1}, x_t)`` of all steps at once."""
    return hs - network.transition(params)(before(hs), xs)


def before(hs: HiddenSequence) -> HiddenSequence:
    """``h_0, ..., h_{T-1}`` of ``h_1, ..., h_T``."""
    return jnp.concatenate([jnp.zeros_like(hs[:1]), hs[:-1]])


def subproblem(
    network: Network, params: Params, xs: InputSequence, targets: Targets, penalty: Any
) -> tuple[Subproblem, HiddenSequence]:
    """The objective of a batch without multipliers, and the true states, where it starts."""
    hs, xs, targets = as_varying(read(network, params, xs), xs, targets)
    penalty = jnp.asarray(penalty, hs.dtype)
    return Subproblem(network, params, xs, targets, penalty, jnp.zeros_like(hs)), hs


def params_step(
    optimizer: optax.GradientTransformation,
    state: optax.OptState,
    problem: Subproblem,
    hs: HiddenSequence,
    average: Average,
) -> tuple[Params, optax.OptState]:
    """One step of `optimizer` on the merit of relaxed states `hs`."""
    gradient = average(problem.params_gradient(hs))
    updates, state = optimizer.update(gradient, state, problem.params)
    return optax.apply_updates(problem.params, updates), state


def describe(
    problem: Subproblem, start: HiddenSequence, hs: HiddenSequence, average: Average
) -> RelaxedInfo:
    """Compare relaxed states `hs` with the true ones, `start`."""
    norms = average(jnp.mean(jnp.linalg.norm(problem.residual(hs), axis=-1), axis=-1))
    readout = problem.network.readout
    outputs, relaxed = (readout(problem.params, states[-1]) for states in (start, hs))
    return RelaxedInfo(outputs, relaxed, jnp.mean(norms), jnp.max(norms), problem.penalty)


def _start(network: Network, params: Params, xs: InputSequence) -> Hidden:
    dtype = jnp.result_type(*jax.tree.leaves(params))
    h0 = jnp.zeros((*xs.shape[1:-1], network.num_units), dtype)
    return vary(h0, varying_axes((params, xs)))
