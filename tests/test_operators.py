"""The recurrent maps, their parameter counts and their bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from sbo_jax._numerics import spectral_norm_bound
from sbo_jax.lower.energies import Residual, Transition
from sbo_jax.lower.operators import Dense, Diagonal, LowRank, Scalar
from sbo_jax.lower.step import lower_gradient

D = 6


def draw_operator(rng, kind, scale=1.0, features=D, dtype=np.float64):
    shapes = {
        Dense: {"a": (features, features)},
        LowRank: {"u": (features, 2), "v": (2, features)},
        Diagonal: {"w": (features,)},
        Scalar: {"w": ()},
    }[kind]
    return kind(**{k: jnp.asarray(scale * rng.normal(size=s), dtype) for k, s in shapes.items()})


def full_matrix(operator, features=D):
    w = reference.matrix(operator)
    return w if w.ndim else w * np.eye(features)


def worst_masked_norm(w, alpha, rng, num_patterns=200):
    """The largest ||alpha I - W D||^2 found over random slope patterns, the corners included."""
    patterns = rng.random((num_patterns, len(w)))
    patterns[: num_patterns // 2] = patterns[: num_patterns // 2] < rng.random()
    patterns[0], patterns[1] = 0, 1
    return max(np.linalg.norm(alpha * np.eye(len(w)) - w @ np.diag(d), 2) ** 2 for d in patterns)


@pytest.mark.parametrize("kind", [Dense, LowRank, Diagonal, Scalar])
def test_an_operator_multiplies_by_its_matrix(x64, rng, kind):
    operator, h = draw_operator(rng, kind), rng.normal(size=(3, D))
    np.testing.assert_allclose(operator(jnp.asarray(h)), h @ full_matrix(operator), atol=1e-12)


@pytest.mark.parametrize("kind", [Dense, LowRank, Diagonal, Scalar])
@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 2**32 - 1), alpha=st.floats(-2, 2), log_scale=st.floats(-3, 1))
def test_bounds_hold_and_are_within_a_factor_two_of_the_worst_slopes(kind, seed, alpha, log_scale):
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        operator = draw_operator(rng, kind, 10**log_scale)
        gap, curvature = float(operator.gap(alpha)), float(operator.curvature(alpha))
    w = full_matrix(operator)
    true_gap = np.linalg.norm(alpha * np.eye(D) - w, 2)
    worst = worst_masked_norm(w, alpha, rng)
    assert true_gap <= gap * (1 + 1e-12)
    assert worst <= curvature * (1 + 1e-12)
    assert curvature <= 2 * worst * 1.05 + 1e-30


def test_the_spectral_bound_holds_in_float32_at_the_layers_size(rng):
    for kind in (Dense, LowRank):
        seed = int(rng.integers(2**31))
        operator = kind.init(jax.random.key(seed), 128)
        true = np.linalg.norm(np.eye(128) - full_matrix(operator), 2)
        assert true <= float(operator.gap(1.0)) <= 128 ** (1 / 128) * true * (1 + 2e-5)


def test_the_spectral_bound_has_the_gradient_of_the_largest_singular_value(x64, rng):
    left, _ = np.linalg.qr(rng.normal(size=(D, D)))
    right, _ = np.linalg.qr(rng.normal(size=(D, D)))
    matrix = left @ np.diag([3.0, 1, 0.5, 0.3, 0.2, 0.1]) @ right
    gradient = jax.grad(spectral_norm_bound)(jnp.asarray(matrix))
    np.testing.assert_allclose(gradient, np.outer(left[:, 0], right[0]), atol=1e-4)


def test_the_spectral_bound_of_zero_is_zero_with_a_finite_gradient():
    value, gradient = jax.value_and_grad(spectral_norm_bound)(jnp.zeros((4, 4)))
    assert 0 <= value < 1e-15
    assert np.all(np.isfinite(gradient))


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), fraction=st.floats(0.01, 1.0))
def test_the_jacobian_of_an_sgd_step_never_expands_below_the_bound(seed, fraction):
    """At eta L <= 1, by jvp along random directions, for random theta, h and u."""
    rng = np.random.default_rng(seed)
    problem = Residual(alpha=rng.uniform(0.1, 2))
    with jax.enable_x64(True):
        kind = [Dense, LowRank, Diagonal, Scalar][rng.integers(4)]
        theta = draw_operator(rng, kind, 10 ** rng.uniform(-2, 1))
        eta = fraction / problem.smoothness(theta)
        h, u, v = jnp.asarray(rng.normal(size=(3, 16, D)))

        def step(h):
            return h - eta * lower_gradient(problem, h, u, theta, h)

        _, pushed = jax.jvp(step, (h,), (v,))
    ratio = np.linalg.norm(pushed, axis=-1) / np.linalg.norm(v, axis=-1)
    assert np.all(ratio <= 1 + 1e-9)


def test_a_step_ten_times_the_bound_expands(x64, rng):
    """The bound is not vacuous: the test above can fail."""
    theta = draw_operator(rng, Dense)
    problem = Residual(phi=jax.nn.identity)
    eta = 10 / problem.smoothness(theta)
    hessian = (np.eye(D) - full_matrix(theta)) @ (np.eye(D) - full_matrix(theta)).T
    assert np.linalg.norm(np.eye(D) - float(eta) * hessian, 2) > 1


@pytest.mark.parametrize(
    ("kind", "formula"),
    [(Dense, 128**2), (LowRank, 2 * 128 * 50), (Diagonal, 128), (Scalar, 1)],
)
def test_parameter_counts_follow_their_formulas(kind, formula):
    assert kind.init(jax.random.key(0), 128).num_parameters == formula


def test_initial_weights_fill_the_papers_interval(rng):
    operator = LowRank.init(jax.random.key(int(rng.integers(2**31))), 100, rank=40)
    for leaf in jax.tree.leaves(operator):
        assert 0.095 < float(jnp.max(jnp.abs(leaf))) <= 0.1
        assert abs(float(jnp.mean(leaf))) < 0.01


def test_the_default_rank_is_the_papers_or_the_width():
    assert LowRank.init(jax.random.key(0), 128).u.shape == (128, 50)
    assert LowRank.init(jax.random.key(0), 32).u.shape == (32, 32)


@pytest.mark.parametrize("rank", [0, -1, 9])
def test_a_rank_outside_the_width_is_refused(rank):
    with pytest.raises(ValueError, match=f"got rank {rank}"):
        LowRank.init(jax.random.key(0), 8, rank=rank)


def test_smoothness_is_refused_where_no_bound_is_known():
    theta = Scalar(jnp.zeros(()))
    with pytest.raises(ValueError, match="got tanh"):
        Residual(jnp.tanh).smoothness(theta)
    assert Residual(jnp.tanh, bound=lambda theta, alpha: jnp.asarray(7.0)).smoothness(theta) == 7
    assert Transition().smoothness(theta) == 1
