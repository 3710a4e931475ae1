"""Spectra by matrix-free products against dense Jacobians, multiplied and decomposed by NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from sbo_jax.lower.energies import Residual
from sbo_jax.lower.operators import Dense
from sbo_jax.lower.solvers import nesterov, sgd
from sbo_jax.lower.step import init_carry
from sbo_jax.stability.eigenvalues import mean_step_eigenvalues, step_eigenvalues
from sbo_jax.stability.spectrum import jacobian_spectrum
from sbo_jax.stability.steps import recurrence

D, T = 6, 12


def draw(rng, solver, length=T):
    theta = Dense(jnp.asarray(rng.normal(size=(D, D)) / 4))
    h0, us = jnp.asarray(rng.normal(size=D)), jnp.asarray(rng.normal(size=(length, D)))
    return recurrence(Residual(jnp.tanh), solver, theta), init_carry(solver, h0), us


def dense_jacobians(step, carry, xs):
    """All J_t, by jacfwd of the flattened carry."""
    vector, unravel = ravel_pytree(carry)

    @jax.jit
    def advance(vector, x):
        return ravel_pytree(step(unravel(vector), x)[0])[0]

    jacobian, jacobians = jax.jit(jax.jacfwd(advance)), []
    for x in xs:
        jacobians.append(np.asarray(jacobian(vector, x)))
        vector = advance(vector, x)
    return jacobians


def product(jacobians):
    return np.linalg.multi_dot(jacobians[::-1])


def test_singular_values_are_those_of_the_dense_product(x64, rng):
    """With fewer vectors than floats: 4 + 4 of 12, the solver's state included."""
    step, carry, us = draw(rng, nesterov(0.2, 0.5))
    spectrum = jacobian_spectrum(
        step, carry, us, 4, key=jax.random.key(0), oversampling=4, num_iterations=60, every=5
    )
    expected = np.linalg.svd(product(dense_jacobians(step, carry, us)), compute_uv=False)[:4]
    np.testing.assert_allclose(np.exp(spectrum.log_singular_values), expected, rtol=1e-6)


def test_a_full_block_needs_no_iteration(x64, rng):
    step, carry, us = draw(rng, sgd(0.1))
    spectrum = jacobian_spectrum(step, carry, us, D, key=jax.random.key(0), num_iterations=0)
    expected = np.linalg.svd(product(dense_jacobians(step, carry, us)), compute_uv=False)
    np.testing.assert_allclose(spectrum.log_singular_values, np.log(expected), atol=1e-9)


def test_lyapunov_exponents_are_those_of_a_known_flow(x64, rng):
    """``h_t = h_{t-1} diag(a) + x``, T = 2,000: products of 10^-2000 stay exact in logarithms."""
    rates = np.array([1.1, 0.9, 0.5, 0.1])

    def step(h, x):
        return h * rates + x, h

    xs = jnp.zeros((2000, 4))
    spectrum = jacobian_spectrum(step, jnp.ones(4), xs, 4, key=jax.random.key(1))
    np.testing.assert_allclose(spectrum.log_singular_values, 2000 * np.log(rates), rtol=1e-9)
    np.testing.assert_allclose(spectrum.lyapunov_exponents, np.log(rates), atol=5e-3)


def test_the_exponents_sum_to_the_volumes_growth(x64, rng):
    """By another route: the mean of log |det J_t|."""
    step, carry, us = draw(rng, sgd(0.3), length=40)
    spectrum = jacobian_spectrum(step, carry, us, D, key=jax.random.key(0))
    volumes = [np.linalg.slogdet(jacobian)[1] for jacobian in dense_jacobians(step, carry, us)]
    assert float(jnp.sum(spectrum.lyapunov_exponents)) == pytest.approx(np.mean(volumes))


def test_a_recurrence_that_forgets_everything_has_minus_infinity(rng):
    spectrum = jacobian_spectrum(
        lambda h, x: (x, h), jnp.ones(3), jnp.ones((5, 3)), 2, key=jax.random.key(0)
    )
    assert np.all(np.isneginf(np.concatenate(spectrum)))


def test_spectra_of_a_batch_are_a_vmap_and_a_step_count_is_no_direction(x64, rng):
    """Adam's state holds an integer; a vmapped sample equals that sample alone."""
    step, _, us = draw(rng, optax.adam(0.05))
    solver = optax.adam(0.05)
    h0s = jnp.asarray(rng.normal(size=(3, D)))

    def spectrum(h0):
        return jacobian_spectrum(step, init_carry(solver, h0), us, 3, key=jax.random.key(2))

    batch = jax.jit(jax.vmap(spectrum))(h0s)
    alone = jax.jit(spectrum)
    for i in range(3):
        expected = alone(h0s[i]).log_singular_values
        np.testing.assert_allclose(batch.log_singular_values[i], expected, rtol=1e-6)


def test_step_eigenvalues_are_those_of_the_dense_jacobians(x64, rng):
    step, carry, us = draw(rng, nesterov(0.2, 0.9))
    jacobians = dense_jacobians(step, carry, us)
    for ours, matrix in (
        (step_eigenvalues(step, carry, us[0]), jacobians[0]),
        (mean_step_eigenvalues(step, carry, us), np.mean(jacobians, axis=0)),
    ):
        assert ours.shape == (2 * D,)
        assert np.all(np.diff(np.abs(ours)) <= 0)
        distance = np.abs(ours[:, None] - np.linalg.eigvals(matrix)[None])
        assert max(distance.min(axis=0).max(), distance.min(axis=1).max()) < 1e-6


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"k": 0}, "expected 1 <= k <= 3"),
        ({"k": 4}, "expected 1 <= k <= 3"),
        ({"every": 0}, "expected every >= 1"),
        ({"num_iterations": -1}, "expected num_iterations >= 0"),
        ({"oversampling": -1}, "oversampling >= 0"),
        ({"xs": jnp.ones((0, 3))}, "one length T >= 1"),
        ({"carry0": jnp.ones(3, jnp.bfloat16)}, "in float32 or float64, as QR takes it, got bfl"),
    ],
)
def test_bad_arguments_of_the_spectrum_are_refused(arguments, fault):
    call = partial(
        jacobian_spectrum, lambda h, x: (h + x.astype(h.dtype), h), key=jax.random.key(0)
    )
    with pytest.raises(ValueError, match=fault):
        call(**{"carry0": jnp.ones(3), "xs": jnp.ones((5, 3)), "k": 2, **arguments})
