"""The rollout in parallel over time against the rollout step by step."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from sbo_jax.lower.energies import Residual, Transition
from sbo_jax.lower.level import STABLE
from sbo_jax.lower.operators import Dense, Diagonal, Scalar
from sbo_jax.lower.solvers import heavy_ball, nesterov, sgd
from sbo_jax.nn.layer import SBORNN
from sbo_jax.rollouts.parallel import Parallel, unroll_parallel
from sbo_jax.rollouts.unrolled import Unrolled, unroll

T, B, D = 37, 3, 4
OPERATORS = {
    "diagonal": lambda rng: Diagonal(jnp.asarray(rng.normal(size=D))),
    "scalar": lambda rng: Scalar(jnp.asarray(rng.normal())),
}
SOLVERS = {"sgd": lambda eta, mu: sgd(eta), "heavy ball": heavy_ball, "nesterov": nesterov}
PROBLEMS = {
    "relu": Residual(),
    "tanh": Residual(jnp.tanh, alpha=0.8),
    "transition": Transition(),
}


def draw(rng, operator="diagonal", dtype=jnp.float64):
    theta = jax.tree.map(lambda x: x.astype(dtype), OPERATORS[operator](rng))
    h0, us = (jnp.asarray(rng.normal(size=s), dtype) for s in ((B, D), (T, B, D)))
    eta, mu = (jnp.asarray(rng.uniform(*r, D), dtype) for r in ((0.01, 0.9), (0.1, 0.9)))
    return h0, us, theta, eta / jnp.broadcast_to(theta.curvature(1.0), D), mu


def outcome(rollout, problem, solver, weights, mask=None):
    """Carry, all h and the gradient of a loss in everything, jitted."""

    def loss(h0, us, theta, eta, mu):
        carry, hs, *info = rollout(problem, solver(eta, mu), h0, us, theta, mask=mask)
        return jnp.sum(weights * hs) + jnp.sum(jnp.sin(carry.h)), (carry, hs, info)

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3, 4), has_aux=True))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_parallel_equals_step_by_step_forward_and_gradient(x64, rng, problem, solver):
    operator = rng.choice(list(OPERATORS))
    arguments, weights = draw(rng, operator), jnp.asarray(rng.normal(size=(T, B, D)))
    mask = jnp.asarray(rng.random((T, B)) < 0.7) if rng.random() < 0.5 else None
    options = (PROBLEMS[problem], SOLVERS[solver], weights, mask)
    (value, (carry, hs, (info,))), gradient = outcome(unroll_parallel, *options)(*arguments)
    (expected, (last, all_hs, _)), oracle = outcome(unroll, *options)(*arguments)
    assert np.all(info.converged)
    assert np.all(info.residual < 1e-12)
    assert 1 <= info.num_iterations < 50
    chex.assert_trees_all_close((value, carry, hs), (expected, last, all_hs), rtol=1e-10)
    chex.assert_trees_all_close(gradient, oracle, rtol=1e-8, atol=1e-10)


def test_it_holds_in_single_precision_over_many_steps(rng):
    _, _, theta, eta, mu = draw(rng, dtype=jnp.float32)
    us = jnp.asarray(rng.normal(size=(2000, B, D)), jnp.float32)
    arguments = (Residual(), nesterov(eta, mu), jnp.zeros((B, D)), us, theta)
    carry, hs, info = jax.jit(lambda us: unroll_parallel(*arguments[:3], us, theta))(us)
    last, expected = jax.jit(lambda us: unroll(*arguments[:3], us, theta))(us)
    assert np.all(info.converged)
    chex.assert_trees_all_close((carry, hs), (last, expected), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cause", ["too few iterations", "a solver that mixes units", "explosion"])
def test_what_does_not_converge_is_read_step_by_step_and_says_so(x64, rng, cause):
    h0, us, theta, eta, mu = draw(rng)
    eta, iterations = (1e300 * eta if cause == "explosion" else eta), 50
    solver = nesterov(eta, mu)
    if cause == "too few iterations":
        iterations = 1
    if cause == "a solver that mixes units":
        solver = optax.chain(optax.normalize_by_update_norm(), optax.sgd(0.1))

    def loss(us, rollout, **options):
        _, hs, *info = rollout(Residual(jnp.tanh), solver, h0, us, theta, **options)
        return jnp.sum(jnp.sin(hs)), info

    (value, (info,)), gradient = jax.jit(
        jax.value_and_grad(
            lambda us: loss(us, unroll_parallel, max_iterations=iterations), has_aux=True
        )
    )(us)
    (expected, _), oracle = jax.jit(jax.value_and_grad(lambda us: loss(us, unroll), has_aux=True))(
        us
    )
    assert not np.all(info.converged)
    assert info.num_iterations <= iterations
    chex.assert_trees_all_close((value, gradient), (expected, oracle), rtol=1e-12)


@pytest.mark.parametrize("drive", [0.0, 1e-7])
@pytest.mark.parametrize("num_steps", [60, 784])  # in which 1.5^t overflows
def test_states_that_grow_are_those_of_step_by_step(rng, drive, num_steps):
    theta = Diagonal(jnp.full(D, rng.uniform(1.4, 1.6), jnp.float32))
    us = jnp.full((num_steps, B, D), drive, jnp.float32)

    def states(rollout):
        def read(us):
            return rollout(Transition(), sgd(1.0), jnp.zeros((B, D)), us, theta)[1]

        return jax.jit(read)(us)

    np.testing.assert_allclose(states(unroll_parallel), states(unroll), rtol=1e-3)


def test_gradients_are_finite_where_newton_overflows_and_the_states_do_not(rng):
    us = jnp.asarray(0.01 * rng.normal(size=(784, B, D)), jnp.float32)
    theta, solver = Diagonal(jnp.full(D, 1.5, jnp.float32)), sgd(1.0)

    def gradient(rollout):
        def loss(us):
            return jnp.sum(rollout(Transition(jnp.tanh), solver, jnp.zeros((B, D)), us, theta)[1])

        return jax.jit(jax.grad(loss))(us)

    info = unroll_parallel(Transition(jnp.tanh), solver, jnp.zeros((B, D)), us, theta)[2]
    assert np.all(np.isnan(info.residual))
    assert info.num_iterations < 5  # NaN does not go away
    expected = gradient(unroll)
    assert np.all(np.isfinite(expected))
    np.testing.assert_allclose(gradient(unroll_parallel), expected, rtol=1e-3, atol=1e-4)


def test_forward_mode_passes(x64, rng):
    h0, us, theta, eta, mu = draw(rng)
    direction = jnp.asarray(rng.normal(size=us.shape))

    def along(rollout):
        def last(us):
            return rollout(Residual(), nesterov(eta, mu), h0, us, theta)[0].h

        return jax.jit(lambda us: jax.jvp(last, (us,), (direction,)))(us)

    chex.assert_trees_all_close(along(unroll_parallel), along(unroll), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_second_derivatives_are_those_of_step_by_step(x64, rng, solver):
    h0, us, theta, eta, mu = draw(rng, rng.choice(list(OPERATORS)))
    problem, weights = Residual(jnp.tanh), jnp.asarray(rng.normal(size=(T, B, D)))

    def product(rollout):
        def loss(*arguments):
            h0, us, theta, eta, mu = arguments
            hs = rollout(problem, SOLVERS[solver](eta, mu), h0, us[:9], theta)[1]
            return jnp.sum(weights[:9] * jnp.sin(hs))

        def along(arguments, direction):
            return jax.jvp(jax.grad(loss, argnums=range(5)), arguments, direction)[1]

        return jax.jit(along)

    arguments = (h0, us, theta, eta, mu)
    direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), arguments)
    found, expected = (product(f)(arguments, direction) for f in (unroll_parallel, unroll))
    chex.assert_trees_all_close(found, expected, rtol=1e-7, atol=1e-8)


def test_second_derivatives_pass_in_reverse_over_reverse(x64, rng):
    h0, us, theta, _, _ = draw(rng)

    def twice(rollout):
        def loss(eta):
            return jnp.sum(jnp.sin(rollout(Residual(jnp.tanh), sgd(eta), h0, us[:5], theta)[1]))

        return jax.jit(jax.grad(jax.grad(loss)))(0.1)

    np.testing.assert_allclose(twice(unroll_parallel), twice(unroll), rtol=1e-8)


@pytest.mark.parametrize("where", ["everywhere", "in one drive", "after overflow"])
@pytest.mark.parametrize("num_steps", [50, 5000])  # XLA drops NaN from maxima of many numbers
def test_a_result_that_is_not_a_number_is_never_called_converged(rng, where, num_steps):
    us = jnp.asarray(rng.normal(size=(num_steps, 1, D)), jnp.float32)
    theta, solver = Diagonal(jnp.asarray([0.9, 0.5, -0.3, 1.1])), sgd(0.1)
    if where == "after overflow":
        solver = sgd(1e30)
    else:
        us = us.at[slice(None) if where == "everywhere" else rng.integers(num_steps)].set(jnp.nan)
    arguments = Residual(), solver, jnp.ones((1, D)), us, theta
    _, hs, info = unroll_parallel(*arguments)
    assert not np.any(info.converged)
    np.testing.assert_array_equal(hs, unroll(*arguments)[1])


def test_a_sample_does_not_depend_on_how_long_others_take(x64, rng):
    h0, us, theta, eta, mu = draw(rng)
    read = jax.jit(lambda us: unroll_parallel(Residual(jnp.tanh), nesterov(eta, mu), h0, us, theta))
    results = [read(us.at[:, 1:].mul(scale))[1] for scale in (1, 0, 1e-3)]
    for hs in results[1:]:
        np.testing.assert_array_equal(hs[:, 0], results[0][:, 0])


@partial(jax.tree_util.register_dataclass, data_fields=["w"], meta_fields=[])
@dataclass(frozen=True)
class Halved:
    """An operator of a user's own, W = diag(w) / 2."""

    w: Any
    units_interact: ClassVar[bool] = False
    num_parameters: ClassVar[int] = D

    def __call__(self, h):
        return h * jnp.broadcast_to(self.w, h.shape) / 2

    def gap(self, alpha):
        return jnp.max(jnp.abs(alpha - self.w / 2))

    def curvature(self, alpha):
        return alpha**2 + self.gap(alpha) ** 2


def test_an_operator_of_ones_own_can_say_that_its_units_do_not_interact(x64, rng):
    h0, us, theta, eta, mu = draw(rng)
    arguments = (Residual(), nesterov(eta, mu), h0, us)
    _, hs, info = jax.jit(lambda w: unroll_parallel(*arguments, Halved(w)))(theta.w)
    _, expected = jax.jit(lambda w: unroll(*arguments, Diagonal(w / 2)))(theta.w)
    assert np.all(info.converged)
    np.testing.assert_allclose(hs, expected, rtol=1e-10)


def test_units_that_interact_and_states_that_are_not_per_unit_are_refused(rng):
    h0, us = jnp.zeros((B, D)), jnp.zeros((T, B, D))
    dense = Dense(jnp.zeros((D, D)))
    with pytest.raises(ValueError, match="expected an operator whose units do not interact"):
        unroll_parallel(Residual(), sgd(0.1), h0, us, dense)
    with pytest.raises(ValueError, match="expected a solver whose state has one number per unit"):
        unroll_parallel(Residual(), optax.adam(0.1), h0, us, Scalar(jnp.zeros(())))


def test_it_is_reachable_from_the_layer(rng):
    lower = replace(STABLE, operator=Diagonal.init)
    options = {"lower": lower, "rngs": nnx.Rngs(int(rng.integers(2**31)))}
    layer = SBORNN(2, 8, rollout=Parallel(), **options)
    xs = jnp.asarray(rng.normal(size=(B, 11, 2)), jnp.float32)
    _, hs, (info,) = nnx.jit(lambda layer: layer(xs, return_info=True))(layer)
    assert np.all(info.converged)
    layer.rollout = Unrolled()
    np.testing.assert_allclose(hs, nnx.jit(lambda layer: layer(xs))(layer), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, B, D), (T, 0, D)])
def test_no_steps_and_no_samples_are_read_as_step_by_step(shape):
    theta, us, h0 = Diagonal(jnp.ones(D)), jnp.zeros(shape), jnp.ones(shape[1:])
    carry, hs, info = unroll_parallel(Residual(), sgd(0.1), h0, us, theta)
    chex.assert_trees_all_equal((carry, hs), unroll(Residual(), sgd(0.1), h0, us, theta))
    assert info.residual.shape == shape[1:2]
    assert np.all(info.converged)
