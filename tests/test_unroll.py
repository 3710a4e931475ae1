"""The rollout against the paper's loops, and the laws of the rollout itself."""

from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference

from sbo_jax.lower.energies import Residual, Transition
from sbo_jax.lower.operators import Dense, Diagonal, LowRank, Scalar
from sbo_jax.lower.solvers import heavy_ball, nesterov, sgd
from sbo_jax.lower.step import init_carry, lower_step
from sbo_jax.rollouts.unrolled import unroll

T, B, D, R = 7, 3, 5, 2

OPERATORS = {
    "dense": lambda rng: Dense(rng.normal(size=(D, D)) / 2),
    "low rank": lambda rng: LowRank(rng.normal(size=(D, R)), rng.normal(size=(R, D)) / 2),
    "diagonal": lambda rng: Diagonal(rng.normal(size=D)),
    "scalar": lambda rng: Scalar(np.asarray(rng.normal())),
}
SOLVERS = {
    "sgd": (lambda eta, mu: sgd(eta), reference.sgd),
    "heavy ball": (heavy_ball, reference.heavy_ball),
    "nesterov": (nesterov, reference.nesterov),
}
ACTIVATIONS = {
    "relu": (jax.nn.relu, reference.RELU),
    "tanh": (jnp.tanh, reference.TANH),
}


def as_matrix(operator):
    w = reference.matrix(operator)
    return w if w.ndim else w * np.eye(D)


def draw(rng, operator="dense"):
    """Steps within the bound, so that rounding is not amplified from step to step."""
    h0, us = rng.normal(size=(B, D)), rng.normal(size=(T, B, D))
    theta = OPERATORS[operator](rng)
    smoothness = 1 + np.linalg.norm(np.eye(D) - as_matrix(theta), 2) ** 2
    return h0, us, theta, rng.uniform(0.1, 0.9, D) / smoothness, rng.uniform(0.1, 0.9, D)


def cast(tree, dtype):
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_rollout_equals_the_papers_loop(x64, rng, solver, operator, activation):
    h0, us, theta, eta, mu = draw(rng, operator)
    ours, loop = SOLVERS[solver]
    phi, reference_phi = ACTIVATIONS[activation]
    w, alpha = as_matrix(theta), 0.8
    expected = reference.batched(loop, h0, us, w, eta, mu, alpha=alpha, activation=reference_phi)
    for dtype, tolerance in ((jnp.float64, 1e-10), (jnp.float32, 1e-5)):
        h0_, us_, theta_, eta_, mu_ = cast((h0, us, theta, eta, mu), dtype)
        carry, hs = unroll(Residual(phi, alpha), ours(eta_, mu_), h0_, us_, theta_)
        assert hs.dtype == dtype
        np.testing.assert_allclose(hs, expected, rtol=tolerance, atol=tolerance)
        np.testing.assert_array_equal(carry.h, hs[-1])


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_gradients_equal_finite_differences_of_the_papers_loop(x64, rng, solver, operator):
    h0, us, theta, eta, mu = draw(rng, operator)
    ours, loop = SOLVERS[solver]
    weights = rng.normal(size=(B, D))

    def ours_loss(h0, us, theta, eta, mu):
        return jnp.sum(weights * unroll(Residual(), ours(eta, mu), h0, us, theta)[0].h)

    def oracle(position):
        arguments = [h0, us, theta, eta, mu]

        def loss(value):
            arguments[position] = value
            h0, us, theta, eta, mu = arguments
            return np.sum(weights * reference.batched(loop, h0, us, as_matrix(theta), eta, mu)[-1])

        return loss

    gradients = jax.grad(ours_loss, argnums=(0, 1, 2, 3, 4))(*cast((h0, us, theta, eta, mu), float))
    for position, value in ((0, h0), (1, us), (3, eta), (4, mu)):
        expected = reference.finite_differences(oracle(position), value)
        np.testing.assert_allclose(gradients[position], expected, rtol=1e-5, atol=1e-6)
    for name, value in reference.arrays_of(theta).items():
        loss = oracle(2)
        in_leaf = lambda leaf, name=name: loss(replace(theta, **{name: leaf}))  # noqa: E731, B023
        expected = reference.finite_differences(in_leaf, value)
        np.testing.assert_allclose(getattr(gradients[2], name), expected, rtol=1e-5, atol=1e-6)


def test_float32_gradients_follow_float64(x64, rng):
    h0, us, theta, eta, mu = draw(rng)

    def loss(arguments):
        h0, us, theta, eta, mu = arguments
        return jnp.sum(unroll(Residual(), nesterov(eta, mu), h0, us, theta)[1] ** 2)

    exact = jax.grad(loss)(cast((h0, us, theta, eta, mu), jnp.float64))
    rounded = jax.grad(loss)(cast((h0, us, theta, eta, mu), jnp.float32))
    scale = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(exact))
    chex.assert_trees_all_close(cast(rounded, jnp.float64), exact, rtol=1e-4, atol=1e-5 * scale)


def test_gradient_of_the_energy_equals_the_papers_closed_form(x64, rng):
    h0, us, theta, _, _ = draw(rng)
    _, step = unroll(Residual(), sgd(1.0), jnp.asarray(h0), jnp.asarray(us[:1]), theta)
    w = as_matrix(theta)
    expected = [reference.residual_gradient(h0[i], us[0, i], w) for i in range(B)]
    np.testing.assert_allclose(h0 - step[0], expected, atol=1e-12)


def test_zero_recurrence_is_fast_rnn_without_recurrence(x64, rng):
    h0, us, *_ = draw(rng)
    eta = rng.uniform(0.1, 0.9)
    _, hs = unroll(Residual(), sgd(eta), jnp.asarray(h0), jnp.asarray(us), Scalar(jnp.zeros(())))
    relu = reference.RELU[0]
    expected = reference.batched(
        reference.fast_rnn, h0, us, np.zeros((D, D)), eta, 1 - eta, phi=relu
    )
    np.testing.assert_allclose(hs, expected, atol=1e-12)


def test_transition_with_a_full_step_is_the_vanilla_rnn(x64, rng):
    h0, us, theta, *_ = draw(rng)
    _, hs = unroll(Transition(), sgd(1.0), jnp.asarray(h0), jnp.asarray(us), theta)
    expected = reference.batched(reference.vanilla_rnn, h0, us, as_matrix(theta))
    np.testing.assert_allclose(hs, expected, atol=1e-12)


def test_transition_with_a_small_step_is_the_euler_step_of_its_flow_and_fast_rnn(x64, rng):
    h0, us, theta, *_ = draw(rng)
    eta = rng.uniform(0.1, 0.9)
    _, hs = unroll(Transition(), sgd(eta), jnp.asarray(h0), jnp.asarray(us), theta)
    expected = reference.batched(reference.fast_rnn, h0, us, as_matrix(theta), eta, 1 - eta)
    np.testing.assert_allclose(hs, expected, atol=1e-12)
    flow = -(h0 - np.tanh(h0 @ as_matrix(theta) + us[0]))
    np.testing.assert_allclose(hs[0], h0 + eta * flow, atol=1e-12)


def test_transition_holds_the_previous_state_during_inner_steps(x64, rng):
    h0, us, theta, *_ = draw(rng)
    _, hs = unroll(Transition(), sgd(0.5), jnp.asarray(h0), jnp.asarray(us), theta, inner_steps=60)
    expected = reference.batched(reference.vanilla_rnn, h0, us, as_matrix(theta))
    np.testing.assert_allclose(hs, expected, atol=1e-10)


def test_inner_steps_of_the_residual_equal_repeated_inputs(x64, rng):
    h0, us, theta, eta, mu = cast(draw(rng), float)
    solver = nesterov(eta, mu)
    _, inner = unroll(Residual(), solver, h0, us, theta, inner_steps=3)
    _, repeated = unroll(Residual(), solver, h0, jnp.repeat(us, 3, axis=0), theta)
    np.testing.assert_allclose(inner, repeated[2::3], atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 50])
def test_rematerialised_chunks_change_neither_values_nor_gradients(x64, rng, chunk):
    h0, us, theta, eta, mu = cast(draw(rng), float)
    mask = jnp.asarray(rng.random((T, B)) < 0.7)

    def loss(us, theta, remat_chunk):
        _, hs = unroll(
            Residual(), nesterov(eta, mu), h0, us, theta, mask=mask, remat_chunk=remat_chunk
        )
        return jnp.sum(jnp.sin(hs)), hs

    plain, chunked = (
        jax.value_and_grad(partial(loss, remat_chunk=c), argnums=(0, 1), has_aux=True)(us, theta)
        for c in (None, chunk)
    )
    chex.assert_trees_all_close(plain, chunked, atol=1e-12)


def test_chunks_keep_fewer_states(rng):
    length, features = 4096, 16
    theta = Dense.init(jax.random.key(0), features)

    def temporary_bytes(remat_chunk):
        def loss(us):
            h0 = jnp.zeros(us.shape[1:])
            return unroll(Residual(), sgd(0.1), h0, us, theta, remat_chunk=remat_chunk)[0].h.sum()

        shape = jax.ShapeDtypeStruct((length, 8, features), jnp.float32)
        compiled = jax.jit(jax.grad(loss)).lower(shape).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary_bytes(64) < 0.25 * temporary_bytes(None)


@pytest.mark.parametrize(
    "solver",
    [
        optax.adam(0.05),
        optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.3)),
        nesterov(0.2, 0.9),
    ],
    ids=["adam", "global-norm clipping", "nesterov"],
)
def test_samples_never_influence_one_another(x64, rng, solver):
    h0, us, theta, *_ = draw(rng)
    us[:, 1] *= 100
    _, together = unroll(Residual(), solver, jnp.asarray(h0), jnp.asarray(us), theta)
    for i in range(B):
        _, alone = unroll(Residual(), solver, jnp.asarray(h0[i]), jnp.asarray(us[:, i]), theta)
        np.testing.assert_allclose(together[:, i], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("solver", [optax.adam(0.05), heavy_ball(0.2, 0.9)], ids=["adam", "shb"])
def test_every_state_leaf_has_a_batch_axis(solver):
    carry = init_carry(solver, jnp.zeros((B, D)))
    assert all(leaf.shape[0] == B for leaf in jax.tree.leaves(carry))
    chex.assert_trees_all_equal_shapes_and_dtypes(
        carry,
        lower_step(Residual(), solver, carry, jnp.ones((B, D)), Scalar(jnp.zeros(()))),
    )


@pytest.mark.parametrize("solver", [optax.adam(0.05), nesterov(0.2, 0.9)], ids=["adam", "snag"])
def test_a_masked_step_leaves_state_and_solver_untouched(x64, rng, solver):
    h0, us, theta, *_ = draw(rng)
    h0, us = jnp.asarray(h0), jnp.asarray(us)
    kept = rng.random(T) < 0.5
    mask = jnp.broadcast_to(jnp.asarray(kept)[:, None], (T, B))
    carry, hs = unroll(Residual(), solver, h0, us, theta, mask=mask)
    expected, hs_kept = unroll(Residual(), solver, h0, us[kept], theta)
    chex.assert_trees_all_close(carry, expected, atol=1e-12)
    np.testing.assert_allclose(hs[kept], hs_kept, atol=1e-12)


def test_a_masked_tail_changes_nothing(x64, rng):
    h0, us, theta, eta, mu = cast(draw(rng), float)
    lengths = jnp.asarray(rng.integers(0, T + 1, B))
    mask = jnp.arange(T)[:, None] < lengths[None]
    poisoned = jnp.where(mask[..., None], us, 1e6)

    def loss(us, theta):
        carry, _ = unroll(Residual(), nesterov(eta, mu), h0, us, theta, mask=mask)
        return jnp.sum(carry.h**2), carry

    clean, dirty = (
        jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(x, theta) for x in (us, poisoned)
    )
    chex.assert_trees_all_close(clean, dirty, atol=1e-12)


def test_a_rollout_continues_from_its_carry(x64, rng):
    h0, us, theta, eta, mu = cast(draw(rng), float)
    solver = nesterov(eta, mu)
    whole, hs = unroll(Residual(), solver, h0, us, theta)
    first, hs_first = unroll(Residual(), solver, h0, us[:3], theta)
    second, hs_second = unroll(Residual(), solver, first, us[3:], theta)
    chex.assert_trees_all_close(second, whole, atol=1e-14)
    np.testing.assert_allclose(jnp.concatenate([hs_first, hs_second]), hs, atol=1e-14)


def test_a_second_call_does_not_retrace(rng):
    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(h0, us, theta, eta, mu):
        return unroll(Residual(), nesterov(eta, mu), h0, us, theta)

    for _ in range(3):
        run(*cast(draw(rng), jnp.float32))


def test_a_sweep_over_eta_and_mu_is_one_trace_and_equals_single_runs(rng):
    h0, us, theta, *_ = cast(draw(rng), jnp.float32)
    etas, mus = (jnp.asarray(rng.uniform(0.01, 0.9, 6)) for _ in range(2))
    etas /= Residual().smoothness(theta)

    @chex.assert_max_traces(n=1)
    def run(eta, mu):
        return unroll(Residual(), nesterov(eta, mu), h0, us, theta)[0].h

    swept = jax.jit(jax.vmap(run))(etas, mus)
    for i in range(len(etas)):
        single = unroll(Residual(), nesterov(etas[i], mus[i]), h0, us, theta)[0].h
        np.testing.assert_allclose(swept[i], single, rtol=1e-5, atol=1e-6)


def test_any_number_of_batch_axes_is_a_batch(x64, rng):
    h0, us, theta, eta, mu = cast(draw(rng), float)
    solver = optax.chain(optax.clip_by_global_norm(0.3), nesterov(eta, mu))
    _, flat = unroll(Residual(), solver, h0, us, theta)
    _, grid = unroll(Residual(), solver, h0[:, None], us[:, :, None], theta)
    np.testing.assert_allclose(grid[:, :, 0], flat, atol=1e-14)


@pytest.mark.parametrize(
    ("h0_shape", "us_shape", "mask_shape", "message"),
    [
        ((D,), (T, B, D), None, "expected drives of shape"),
        ((B, 1), (T, B, D), None, "expected drives of shape"),
        ((B, D), (T, B, D), (T, 1), "expected a mask of shape"),
        ((B, D), (T, B, D), (T - 1, B), "expected a mask of shape"),
    ],
)
def test_shapes_that_broadcasting_would_hide_are_refused(h0_shape, us_shape, mask_shape, message):
    mask = None if mask_shape is None else jnp.ones(mask_shape, bool)
    run = getattr(unroll, "__wrapped__", unroll)  # the library's own message, not beartype's
    with pytest.raises(ValueError, match=message):
        run(Residual(), sgd(0.1), jnp.zeros(h0_shape), jnp.zeros(us_shape), None, mask=mask)


@pytest.mark.parametrize("count", ["inner_steps", "scan_unroll", "remat_chunk"])
def test_counts_below_one_are_refused(count):
    theta = Scalar(jnp.zeros(()))
    with pytest.raises(ValueError, match=f"expected {count} as a whole number >= 1, got 0"):
        unroll(Residual(), sgd(0.1), jnp.zeros(D), jnp.zeros((T, D)), theta, **{count: 0})


def test_parameters_that_do_not_fit_are_refused():
    h0, us = jnp.zeros((B, D)), jnp.zeros((T, B, D))
    with pytest.raises(ValueError, match=r"parameters that fit h of shape \(3, 5\)"):
        unroll(Residual(), sgd(0.1), h0, us, Dense(jnp.zeros((D + 1, D + 1))))
