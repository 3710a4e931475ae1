"""Gradients in hyper-parameters: against finite differences, dense solves and a known optimum."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sbo_jax as sbo
from sbo_jax.linear_solvers import CG, Neumann
from sbo_jax.training import hypergradients as hyper

N, D = 12, 3


@pytest.fixture
def ridge(x64, rng):
    """L(w, lam) = |X w - y|^2 / 2 + e^lam |w|^2 / 2 on training samples, V on others."""
    train, held_out = (
        (jnp.asarray(rng.normal(size=(N, D))), jnp.asarray(rng.normal(size=N))) for _ in range(2)
    )

    def training_loss(w, lam):
        x, y = train
        return 0.5 * jnp.sum((x @ w - y) ** 2) + 0.5 * jnp.exp(lam) * jnp.sum(w**2)

    def validation_loss(w, lam):
        del lam
        x, y = held_out
        return 0.5 * jnp.sum((x @ w - y) ** 2)

    def best(lam):
        x, y = train
        return jnp.linalg.solve(x.T @ x + jnp.exp(lam) * jnp.eye(D), x.T @ y)

    return training_loss, validation_loss, best, train


def largest(x):
    return float(jnp.linalg.eigvalsh(x.T @ x)[-1])


def test_the_implicit_gradient_is_that_of_the_closed_form(ridge, rng):
    training_loss, validation_loss, best, (x, _) = ridge
    lam = jnp.asarray(rng.normal())
    wanted = jax.grad(lambda lam: validation_loss(best(lam), lam))(lam)
    rate = 1 / (largest(x) + float(jnp.exp(lam)))
    for solver in (CG(3 * D, tolerance=1e-12), Neumann(rate, 2000)):
        value, gradient = hyper.implicit(training_loss, validation_loss, lam, best(lam), solver)
        np.testing.assert_allclose(gradient, wanted, rtol=1e-6)
        np.testing.assert_allclose(value, validation_loss(best(lam), lam))


@jax.custom_vjp
def with_a_rule_of_its_own(x):
    """The identity; like an implicit rollout it has no forward mode."""
    return x


with_a_rule_of_its_own.defvjp(lambda x: (x, None), lambda _, v: (v,))


def test_the_implicit_gradient_needs_no_forward_mode(ridge, rng):
    training_loss, validation_loss, best, _ = ridge
    lam, solver = jnp.asarray(rng.normal()), CG(3 * D, tolerance=1e-12)

    def loss(w, lam):
        return training_loss(with_a_rule_of_its_own(w), lam)

    found, wanted = (
        hyper.implicit(loss, validation_loss, lam, best(lam), solver)[1]
        for loss in (loss, training_loss)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_damping_solves_the_damped_system(x64, rng):
    """With V = b.w and L = w'Aw/2 - lam.w the gradient in lam is the solution of the system."""
    a = rng.normal(size=(D, D))
    matrix, b = jnp.asarray(a @ a.T), jnp.asarray(rng.normal(size=D))

    def training_loss(w, lam):
        return 0.5 * w @ matrix @ w - lam @ w

    start, solver = jnp.zeros(D), CG(5 * D, tolerance=1e-12)
    _, x = hyper.implicit(
        training_loss, lambda w, lam: b @ w, jnp.ones(D), start, solver, damping=0.7
    )
    np.testing.assert_allclose(x, np.linalg.solve(matrix + 0.7 * np.eye(D), b), rtol=1e-6)


def test_a_window_that_reaches_the_minimum_has_the_implicit_gradient(ridge, rng):
    training_loss, validation_loss, best, (x, _) = ridge
    lam = jnp.asarray(rng.normal())
    rate = 1 / (largest(x) + float(jnp.exp(lam)))

    def step(w, lam, batch):
        return w - rate * jax.grad(training_loss)(w, lam)

    _, w, gradient = hyper.unrolled(step, validation_loss, lam, jnp.zeros(D), jnp.zeros(2000))
    np.testing.assert_allclose(w, best(lam), rtol=1e-6)
    solver = CG(3 * D, tolerance=1e-12)
    _, wanted = hyper.implicit(training_loss, validation_loss, lam, w, solver)
    np.testing.assert_allclose(gradient, wanted, rtol=1e-5)


@pytest.mark.parametrize("window", [1, 4])
def test_the_unrolled_gradient_of_a_lower_eta_is_that_of_finite_differences(x64, rng, window):
    """Adam on the parameters of a recurrence whose own eta and momentum are what is learned."""
    held_out = jnp.asarray(rng.normal(size=(6, 2, D)))
    targets = jnp.asarray(rng.normal(size=(2, D)))
    batches = jnp.asarray(rng.normal(size=(window, 6, 2, D)))
    problem, optimizer = sbo.Residual(jnp.tanh), optax.adam(1e-2)

    def loss(theta, lam, xs):
        solver = sbo.heavy_ball(jnp.exp(lam["eta"]), jax.nn.sigmoid(lam["mu"]))
        carry, _ = sbo.unroll(problem, solver, jnp.zeros((2, D)), xs, theta)
        return jnp.mean((carry.h - targets) ** 2)

    def step(state, lam, batch):
        theta, moments = state
        updates, moments = optimizer.update(jax.grad(loss)(theta, lam, batch), moments)
        return optax.apply_updates(theta, updates), moments

    def validation_loss(state, lam):
        return loss(state[0], lam, held_out)

    theta = sbo.Dense(jnp.asarray(rng.uniform(-0.5, 0.5, (D, D))))
    state = theta, optimizer.init(theta)
    lam = {"eta": jnp.asarray(-1.5 + 0.3 * rng.normal()), "mu": jnp.asarray(rng.normal())}

    def outcome(lam):
        last = state
        for batch in batches:
            last = step(last, lam, batch)
        return validation_loss(last, lam)

    value, _, gradient = hyper.unrolled(step, validation_loss, lam, state, batches)
    np.testing.assert_allclose(value, outcome(lam), rtol=1e-10)
    for name in lam:
        up, down = (outcome(lam | {name: lam[name] + sign * 1e-5}) for sign in (1, -1))
        np.testing.assert_allclose(gradient[name], (up - down) / 2e-5, rtol=1e-4, atol=1e-8)


@pytest.mark.slow
def test_descending_the_hypergradient_finds_the_best_weight_decay(x64, rng):
    """Where validation wants the very weights that a decay of e^lam makes, lam is the answer."""
    matrix = jnp.asarray(rng.normal(size=(N, D)))
    curvature, pull = matrix.T @ matrix, jnp.asarray(rng.normal(size=D))
    answer = jnp.asarray(rng.uniform(1.0, 3.0))

    def training_loss(w, lam):
        return 0.5 * w @ curvature @ w - pull @ w + 0.5 * jnp.exp(lam) * w @ w

    def best(lam):
        return jnp.linalg.solve(curvature + jnp.exp(lam) * jnp.eye(D), pull)

    wanted = best(answer)

    def validation_loss(w, lam):
        return jnp.sum((w - wanted) ** 2) / jnp.sum(wanted**2)

    def slope(lam):
        return hyper.implicit(training_loss, validation_loss, lam, best(lam), CG(3 * D))[1]

    optimizer = optax.adam(optax.cosine_decay_schedule(0.2, 200))
    lam = jnp.asarray(0.0)
    moments = optimizer.init(lam)
    update = jax.jit(lambda lam, moments: optimizer.update(slope(lam), moments))
    for _ in range(200):
        updates, moments = update(lam, moments)
        lam = optax.apply_updates(lam, updates)
    np.testing.assert_allclose(lam, answer, atol=1e-2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: CG(0),
        lambda: CG(3, -1.0),
        lambda: Neumann(0.1, 3, -1.0),
        lambda: Neumann(float("inf"), 3),
        lambda: hyper.implicit(jnp.dot, jnp.dot, jnp.ones(D), jnp.ones(D), damping=-1.0),
        lambda: Neumann(0.1, 0),
        lambda: Neumann(0.0, 3),
    ],
)
def test_impossible_solves_are_refused(make):
    with pytest.raises(ValueError, match="expected"):
        make()
