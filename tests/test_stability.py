"""Bounds on eta against true Jacobians and Hessians, momentum's limits, and the report."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbo_jax.lower.composed import averaged, damped
from sbo_jax.lower.energies import IncrementalEquilibrium, Residual, Transition
from sbo_jax.lower.level import OSCILLATING, STABLE
from sbo_jax.lower.operators import Dense, Diagonal, LowRank, Scalar
from sbo_jax.lower.solvers import heavy_ball, nesterov, sgd
from sbo_jax.lower.step import init_carry
from sbo_jax.rollouts.unrolled import unroll
from sbo_jax.stability.bounds import eta_bounds, gradient_ceiling, gradient_floor
from sbo_jax.stability.eigenvalues import step_eigenvalues
from sbo_jax.stability.momentum import HEAVY_BALL, NESTEROV, spectral_radius, worst_radius
from sbo_jax.stability.steps import recurrence
from sbo_jax.stability.summary import momentum_report, report

D, R = 6, 2
KINDS = {
    Dense: {"a": (D, D)},
    LowRank: {"u": (D, R), "v": (R, D)},
    Diagonal: {"w": (D,)},
    Scalar: {"w": ()},
}
MOMENTA = {"heavy ball": (HEAVY_BALL, heavy_ball), "nesterov": (NESTEROV, nesterov)}
each_momentum = pytest.mark.parametrize(("momentum", "solver"), MOMENTA.values(), ids=MOMENTA)
seeds = st.integers(0, 2**32 - 1)


def draw_theta(rng, kind, scale=1.0):
    return kind(
        **{name: jnp.asarray(scale * rng.normal(size=s)) for name, s in KINDS[kind].items()}
    )


@partial(jax.jit, static_argnums=0)
def hessians(problem, h, u, theta):
    """Dense Hessians of F for a batch of (h, u), and the bound L."""
    hessian = jax.vmap(jax.hessian(problem), in_axes=(0, 0, None, None))
    return hessian(h, u, theta, h[0]), problem.smoothness(theta)


@partial(jax.jit, static_argnums=0)
def state_jacobian(problem, eta, h0, us, theta):
    """dh_T/dh_0 of gradient descent on one sample, dense."""
    return jax.jacfwd(lambda h0: unroll(problem, sgd(eta), h0, us, theta)[0].h)(h0)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=250)
@given(
    seed=seeds,
    alpha=st.sampled_from([0.3, 1.0, 1.7]),
    phi=st.sampled_from([jax.nn.relu, jax.nn.leaky_relu]),
    log_scale=st.floats(-3, 1),
)
def test_the_energys_hessian_lies_between_zero_and_the_bound(kind, seed, alpha, phi, log_scale):
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        theta = draw_theta(rng, kind, 10**log_scale)
        h, u = jnp.asarray(3 * rng.normal(size=(2, 4, D)))
        matrices, bound = hessians(Residual(phi, alpha), h, u, theta)
    eigenvalues = np.linalg.eigvalsh(matrices)
    assert eigenvalues.max() <= float(bound) * (1 + 1e-9)
    assert eigenvalues.min() >= -1e-9 * float(bound)


@pytest.mark.parametrize("kind", KINDS)
def test_the_worst_hessian_over_all_drives_is_at_least_half_the_bound(x64, rng, kind):
    """The drive decides which units are active: every one of the 2^D patterns is visited."""
    theta, h = draw_theta(rng, kind, 10 ** rng.uniform(-2, 1)), jnp.asarray(rng.normal(size=D))
    patterns = 2 * np.array(list(itertools.product([0, 1], repeat=D))) - 1.0
    us = jnp.asarray(patterns) - jnp.broadcast_to(theta(h), patterns.shape)
    matrices, bound = hessians(Residual(), jnp.broadcast_to(h, us.shape), us, theta)
    worst = np.linalg.norm(matrices, 2, axis=(1, 2)).max()
    assert worst <= float(bound) * (1 + 1e-9)
    assert float(bound) <= 2 * worst * 1.05


@settings(deadline=None, max_examples=30)
@given(seed=seeds, rate=st.floats(0.01, 1.99))
def test_products_of_gradient_steps_stay_between_floor_and_ceiling(seed, rate):
    rng = np.random.default_rng(seed)
    kind, per_unit, T = rng.choice([Dense, LowRank]), rng.random() < 0.5, 12
    with jax.enable_x64(True):
        problem, theta = Residual(), draw_theta(rng, kind)
        L = problem.smoothness(theta)
        eta = jnp.asarray(rate * (10 ** rng.uniform(-2, 0, D) if per_unit else 1.0) / L)
        h0, us = jnp.asarray(rng.normal(size=D)), jnp.asarray(rng.normal(size=(T, D)))
        jacobian = state_jacobian(problem, jnp.broadcast_to(eta, D), h0, us, theta)
        floor, ceiling = gradient_floor(eta, L, T), gradient_ceiling(eta, L, T)
    jacobian = np.asarray(jacobian)
    values = np.linalg.svd(jacobian, compute_uv=False)
    assert float(floor) * (1 - 1e-6) - 1e-12 <= values[-1]
    assert values[0] <= float(ceiling) * (1 + 1e-9)
    root = np.broadcast_to(np.sqrt(eta), D)
    own_norm = np.linalg.norm(jacobian * root / root[:, None], 2)
    assert own_norm <= 1 + 1e-9


def test_the_eta_that_keeps_a_floor_keeps_it_exactly(x64, rng):
    """On a constant Hessian L I (an identity activation, W = w I) the bounds are attained."""
    problem, theta, T = Residual(jax.nn.identity), Scalar(jnp.asarray(-rng.uniform(0.5, 2))), 50
    bounds = eta_bounds(problem, theta, T, floor=0.25)
    us = jnp.asarray(rng.normal(size=(T, D)))
    jacobian = state_jacobian(problem, bounds.keeping, us[0], us, theta)
    np.testing.assert_allclose(jacobian, 0.25 * np.eye(D), atol=1e-12)
    assert gradient_floor(bounds.keeping, bounds.smoothness, T) == pytest.approx(0.25)
    jacobian = state_jacobian(problem, 1.1 * bounds.non_expanding, us[0], us, theta)
    ceiling = gradient_ceiling(1.1 * bounds.non_expanding, bounds.smoothness, T)
    assert np.linalg.norm(jacobian, 2) == pytest.approx(float(ceiling)) == pytest.approx(1.2**T)


def test_bounds_are_traced_once_for_all_theta(x64, rng):
    problem = Residual()
    bounds = jax.jit(lambda theta: eta_bounds(problem, theta, 784)[:4])
    theta = draw_theta(rng, Dense)
    np.testing.assert_allclose(bounds(theta), eta_bounds(problem, theta, 784)[:4])


@each_momentum
def test_a_steps_eigenvalues_are_those_of_its_companions(x64, rng, momentum, solver):
    """The true Jacobian in (h, solver state), against NumPy's roots on the true Hessian."""
    problem, theta = Residual(), draw_theta(rng, Dense)
    h, u = jnp.asarray(rng.normal(size=(2, D)))
    eta, mu = rng.uniform(0.01, 0.2), rng.uniform(0, 1)
    step = recurrence(problem, solver(eta, mu), theta)
    ours = step_eigenvalues(step, init_carry(solver(eta, mu), h), u)
    lams = np.linalg.eigvalsh(jax.hessian(problem)(h, u, theta, h))
    companions = [np.linalg.eigvals(momentum.companion(eta, mu, lam)) for lam in lams]
    distance = np.abs(ours[:, None] - np.concatenate(companions)[None])
    assert distance.min(axis=0).max() < 1e-6
    assert distance.min(axis=1).max() < 1e-6
    expected = jnp.max(spectral_radius(momentum.companion, eta, mu, jnp.asarray(lams)))
    np.testing.assert_allclose(expected, np.abs(ours).max(), rtol=1e-6)


@partial(jax.jit, static_argnums=0)
def radii(companion, eta, mu):
    """The worst radius for L = 1, and the radius on a grid of lam."""
    grid = spectral_radius(companion, eta, mu, jnp.linspace(0.0, 1.0, 301))
    return worst_radius(companion, eta, mu, 1.0), grid


@each_momentum
@settings(deadline=None, max_examples=50)
@given(mu=st.floats(0, 0.99), rate=st.floats(0.01, 6))
def test_a_step_is_stable_exactly_up_to_its_limit(momentum, solver, mu, rate):
    with jax.enable_x64(True):
        limit = float(momentum.step_limit(mu))
        worst, grid = map(np.asarray, radii(momentum.companion, rate, mu))
    assert grid.max() == pytest.approx(worst, rel=1e-12)
    if rate < limit * (1 - 1e-6):
        assert worst == pytest.approx(1, abs=1e-7)
    if rate > limit * (1 + 1e-3):
        assert worst > 1


@each_momentum
@settings(deadline=None, max_examples=10)
@given(seed=seeds, rate=st.floats(0.01, 1))
def test_steps_with_one_eta_and_mu_per_unit_are_stable_up_to_one(momentum, solver, seed, rate):
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        problem, theta = Residual(), draw_theta(rng, Dense, 0.5)
        eta = jnp.asarray(rate * 10 ** rng.uniform(-2, 0, D)) / problem.smoothness(theta)
        lower = solver(eta, jnp.asarray(rng.uniform(0, 0.99, D)))
        h, u = jnp.asarray(rng.normal(size=(2, D)))
        values = step_eigenvalues(recurrence(problem, lower, theta), init_carry(lower, h), u)
    assert abs(values[0]) <= 1 + 1e-6


def companion_words(momentum, eta, mu, length):
    """Products of all words of `length` companions on lam = 0 and lam = 1."""
    letters = np.asarray(momentum.companion(eta, mu, jnp.asarray([0.0, 1.0])))
    words = letters
    for _ in range(length - 1):
        words = np.einsum("aij,bjk->abik", letters, words).reshape(-1, 2, 2)
    return words


@each_momentum
@settings(deadline=None, max_examples=20)
@given(mu=st.floats(0, 0.95))
def test_no_word_of_different_steps_explodes_at_the_product_limit(momentum, solver, mu):
    with jax.enable_x64(True):
        words = companion_words(momentum, momentum.product_limit(mu), mu, 10)
    assert np.abs(np.linalg.eigvals(words)).max() <= 1 + 1e-6


@each_momentum
def test_stable_steps_beyond_the_product_limit_can_explode(x64, momentum, solver):
    """The unit disc promises nothing of products: mu = 0.9 at eta L = 0.95."""
    assert worst_radius(momentum.companion, 0.95, 0.9, 1.0) <= 1 + 1e-12
    words = companion_words(momentum, 0.95, 0.9, 12)
    assert np.abs(np.linalg.eigvals(words)).max() > 1.1


@each_momentum
def test_per_unit_products_stay_bounded_where_every_unit_keeps_its_limit(
    x64, rng, momentum, solver
):
    """Random projections as Hessians, 2,000 of them."""
    mu = rng.uniform(0, 0.8, D)
    eta = 0.999 * np.asarray(momentum.product_limit(jnp.asarray(mu)))
    product, largest = np.eye(2 * D), 0.0
    for _ in range(2000):
        q = np.linalg.qr(rng.normal(size=(D, D)))[0][:, : rng.integers(0, D + 1)]
        product = block_step(momentum, eta, mu, q @ q.T) @ product
        largest = max(largest, np.linalg.norm(product, 2))
    assert largest < 300


def block_step(momentum, eta, mu, hessian):
    """The step on (h, m) as a 2D x 2D matrix, from the equations in the paper."""
    gradient, momenta, identity = eta[:, None] * hessian, np.diag(mu), np.eye(len(mu))
    if momentum is HEAVY_BALL:
        return np.block([[identity - gradient, momenta], [-gradient, momenta]])
    ahead = identity - gradient
    return np.block([[(identity + momenta) @ ahead, -momenta], [ahead, np.zeros_like(ahead)]])


THETA = Scalar(jnp.asarray(0.0))  # L = 1


@pytest.mark.parametrize(
    ("eta", "words"),
    [
        (1e-3, "eta L = 0.001: cannot explode; floor over T = 784 is 0.46"),
        (1.5, "cannot explode, but directions may turn round and vanish; no floor over T = 784"),
        (2.5, "may explode, by up to (1.5)^784 over T = 784; no floor; lower eta below 2"),
        (jnp.asarray([0.01, 0.04]), "nor in the Euclidean norm by more than 2 up to 2/L"),
    ],
)
def test_the_report_says_what_eta_promises(eta, words):
    assert words in report(Residual(), THETA, eta, 784)


class Wavy:
    """An energy of a user's own that knows its L, and that it is not convex."""

    is_convex = False

    def smoothness(self, theta):
        return jnp.ones(())


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (Residual(jnp.tanh), "got tanh"),
        (Residual(jnp.tanh, bound=lambda theta, alpha: jnp.ones(())), "got a curved one"),
        (Transition(), "h_prev plays no part"),
        (damped(Residual(jnp.tanh, bound=lambda theta, alpha: jnp.ones(())), 0.1), "curved one"),
        (averaged(Transition()), "h_prev plays no part"),
        (Wavy(), "curved one in Wavy"),
        (IncrementalEquilibrium(), "got IncrementalEquilibrium"),
    ],
)
def test_an_energy_without_a_bound_is_promised_nothing(problem, reason):
    with pytest.raises(ValueError, match=reason):
        eta_bounds(problem, THETA, 784)
    for text in (
        report(problem, THETA, 0.1, 784),
        momentum_report(NESTEROV, problem, THETA, 0.1, 0.5, 784),
    ):
        assert "L unknown: nothing is promised" in text
        assert reason in text
        assert "cannot" not in text.splitlines()[0]


def test_a_bound_of_ones_own_is_used_for_a_piecewise_linear_activation():
    problem = Residual(jax.nn.relu6, bound=lambda theta, alpha: theta.curvature(alpha))
    assert eta_bounds(problem, THETA, 10).smoothness == 1


@pytest.mark.parametrize(
    ("eta", "mu", "words"),
    [
        (0.01, 0.9, "cannot explode: products of T = 784"),
        (0.95, 0.9, "each step is stable, yet a product of T = 784 different ones may explode"),
        (1.3, 0.9, "each step is stable, yet"),
        (3.0, 0.5, "may explode: a step may have an eigenvalue of modulus 3.303"),
        (jnp.asarray([0.5, 1.2]), 0.9, "nothing is known above eta L = 1"),
        (jnp.asarray([0.5, 0.01]), jnp.asarray([0.5, 0.9]), "cannot explode: products"),
    ],
)
def test_the_report_on_momentum_tells_a_step_from_a_product(eta, mu, words):
    assert words in momentum_report(NESTEROV, Residual(), THETA, eta, mu, 784)


def test_all_units_of_oscillating_swing_and_the_slow_ones_of_stable_decay():
    periods = []
    for level in (OSCILLATING, STABLE):
        eta = level.eta.resolve(level.eta.init(128), lambda: jnp.ones(()))
        mu = level.mu.resolve(level.mu.init(128), lambda: jnp.ones(()))
        steps = jax.vmap(HEAVY_BALL.companion, in_axes=(0, 0, None))(eta, mu, 1.0)
        with np.errstate(divide="ignore"):
            periods.append(2 * np.pi / np.abs(np.angle(np.linalg.eigvals(steps)[:, 0])))
    oscillating, stable = periods
    assert np.isfinite(oscillating).all()
    np.testing.assert_allclose(oscillating[[0, -1]], [700, 6], rtol=0.05)
    assert np.isinf(stable[:32]).all()
    assert np.isfinite(stable[-32:]).all()


def test_the_report_fits_a_page_for_the_default_layer():
    key = jax.random.key(0)
    theta = STABLE.operator(key, 128)
    L = Residual().smoothness(theta)
    eta = STABLE.eta.resolve(STABLE.eta.init(128), lambda: L)
    text = momentum_report(HEAVY_BALL, Residual(), theta, eta, 0.9, 784)
    assert "max(eta) L = 0.95" in text
    assert "eta L = 0.00141: cannot explode; floor over T = 784 is 0.33" in report(
        Residual(bound=lambda theta, alpha: jnp.asarray(1.41)), theta, 1e-3, 784
    )
    assert max(len(page.splitlines()) for page in (text, report(Residual(), theta, eta, 784))) < 20


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"T": 0}, "expected T >= 1, got 0"),
        ({"floor": 1.0}, r"expected a floor in \(0, 1\), got 1"),
        ({"floor": 0.0}, r"expected a floor in \(0, 1\), got 0"),
    ],
)
def test_bad_arguments_of_the_bounds_are_refused(arguments, fault):
    with pytest.raises(ValueError, match=fault):
        eta_bounds(Residual(), THETA, **{"T": 5, **arguments})


def test_bad_step_sizes_are_refused():
    for call in (partial(gradient_floor, 0.0, 1.0, 5), partial(report, Residual(), THETA, -1.0, 5)):
        with pytest.raises(ValueError, match="expected a finite eta > 0"):
            call()
    with pytest.raises(ValueError, match="expected a finite eta > 0, got no number"):
        report(Residual(), THETA, jnp.ones(0), 5)
    with pytest.raises(ValueError, match="expected 0 <= mu < 1"):
        momentum_report(NESTEROV, Residual(), THETA, 0.1, 1.0, 5)


def test_the_recurrence_is_the_body_of_the_rollout(x64, rng):
    problem, theta, solver = Residual(), draw_theta(rng, Dense, 0.3), nesterov(0.1, 0.9)
    h0, us = jnp.asarray(rng.normal(size=(3, D))), jnp.asarray(rng.normal(size=(5, 3, D)))
    step = recurrence(problem, solver, theta, inner_steps=2)
    hs = jax.lax.scan(step, init_carry(solver, h0), us)[1]
    expected = unroll(problem, solver, h0, us, theta, inner_steps=2)[1]
    np.testing.assert_array_equal(hs, expected)


def test_a_report_agrees_with_the_bounds_at_the_bounds(rng):
    for _ in range(20):
        theta = LowRank.init(jax.random.key(int(rng.integers(2**31))), 6, rank=2)
        bounds = eta_bounds(Residual(), theta, 50)
        assert "cannot explode; floor" in report(Residual(), theta, bounds.monotone, 50)
        assert "cannot explode, but" in report(Residual(), theta, bounds.non_expanding, 50)


@each_momentum
def test_a_momentum_report_agrees_with_its_step_limit(rng, momentum, solver):
    theta = LowRank.init(jax.random.key(int(rng.integers(2**31))), 6, rank=2)
    L = Residual().smoothness(theta)
    for mu in rng.uniform(0.01, 0.99, 20):
        limit = float(momentum.step_limit(mu))
        below, above = (
            momentum_report(momentum, Residual(), theta, x * limit / L, mu, 50)
            for x in (0.999, 1.001)
        )
        assert "may have an eigenvalue" not in below
        assert "may have an eigenvalue" in above
        assert float(worst_radius(momentum.companion, 0.999 * limit, mu, 1.0)) == 1


def test_a_floor_out_of_range_is_refused_and_not_called_an_unknown_bound():
    theta = LowRank.init(jax.random.key(0), 6, rank=2)
    with pytest.raises(ValueError, match=r"expected a floor in \(0, 1\), got 2"):
        report(Residual(), theta, 0.1, 50, floor=2.0)
