"""SBOCell and SBORNN: sockets of Flax, equal to `unroll`, hyper-parameters in their place."""

import copy
from dataclasses import dataclass, replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from compiled import call, grad
from flax import nnx
from jax.extend.core import jaxprs_in_params

import sbo_jax as sbo
from sbo_jax.lower import averaged, damped, proximal
from sbo_jax.nn.cell import SBOCell
from sbo_jax.nn.layer import SBORNN
from sbo_jax.stability import eta_bounds

B, T, IN, D = 4, 9, 3, 6

LOWER = {
    "stable": sbo.STABLE,
    "paper": sbo.PAPER,
    "paper, nesterov": replace(sbo.PAPER, solver=sbo.nesterov),
    "nesterov, low rank": replace(sbo.STABLE, solver=sbo.nesterov, operator=sbo.LowRank.init),
    "adam, scalar": replace(sbo.PAPER, solver=optax.adam, operator=sbo.Scalar.init),
    "transition": replace(
        sbo.PAPER, eta=sbo.Positive(0.3), operator=sbo.Diagonal.init, problem=sbo.Transition()
    ),
}


def draw(rng, *shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


def any_seed(rng):
    return int(rng.integers(2**31))


def twins(rng, lower=sbo.STABLE, **kwargs):
    """A layer and a cell with the same parameters."""
    seed = any_seed(rng)
    return (
        SBORNN(IN, D, lower=lower, rngs=nnx.Rngs(seed), **kwargs),
        SBOCell(IN, D, lower=lower, rngs=nnx.Rngs(seed)),
    )


@pytest.mark.parametrize("lower", LOWER)
def test_cell_in_nnx_rnn_equals_layer_equals_unroll(rng, lower):
    rnn, cell = twins(rng, LOWER[lower])
    xs = draw(rng, B, T, IN)
    (carry,), hs = call(rnn, xs, return_carry=True)
    cell_carry, cell_hs = call(nnx.RNN(cell, rngs=False), xs, return_carry=True)
    us = jnp.swapaxes(xs, 0, 1) @ cell.kernel[...] + jnp.tile(cell.bias[...], (T, B, 1))
    h0 = jnp.zeros((B, D))
    raw, raw_hs = sbo.unroll(cell.problem, cell.lower_solver(), h0, us, nnx.as_pure(cell.theta))
    chex.assert_trees_all_close((carry, hs), (cell_carry, cell_hs), rtol=1e-5, atol=1e-5)
    chex.assert_trees_all_close(
        (carry, hs), (raw, jnp.swapaxes(raw_hs, 0, 1)), rtol=1e-5, atol=1e-5
    )


def test_the_paper_preset_equals_the_papers_loop(rng):
    rnn, cell = twins(rng, sbo.PAPER)
    xs = np.asarray(draw(rng, T, B, IN))
    us = xs @ np.asarray(cell.kernel[...]) + np.asarray(cell.bias[...])
    w = reference.matrix(nnx.as_pure(cell.theta))
    expected = reference.batched(reference.sgd, np.zeros((B, D)), us, w, 1e-3)
    np.testing.assert_allclose(rnn(jnp.asarray(xs), time_major=True), expected, atol=1e-6)


@pytest.mark.parametrize("lower", ["stable", "paper, nesterov"])
@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"reverse": True, "keep_order": True}])
def test_lengths_order_and_carry_follow_nnx_rnn(rng, lower, options):
    rnn, cell = twins(rng, LOWER[lower])
    xs, lengths = draw(rng, B, T, IN), jnp.asarray(rng.integers(1, T + 1, B))
    (carry,), hs = call(rnn, xs, seq_lengths=lengths, return_carry=True, **options)
    theirs = call(nnx.RNN(cell, rngs=False), xs, seq_lengths=lengths, return_carry=True, **options)
    chex.assert_trees_all_close(carry, theirs[0], rtol=1e-5, atol=1e-5)
    for i, length in enumerate(lengths):
        np.testing.assert_allclose(hs[i, :length], theirs[1][i, :length], atol=1e-5)
        if "keep_order" not in options:
            past_the_end = np.broadcast_to(carry.h[i], hs[i, length:].shape)
            np.testing.assert_array_equal(hs[i, length:], past_the_end)


def test_a_mask_says_what_lengths_say(rng):
    rnn, _ = twins(rng)
    xs, lengths = draw(rng, B, T, IN), jnp.asarray(rng.integers(1, T + 1, B))
    mask = jnp.arange(T)[None] < lengths[:, None]
    by_length = call(rnn, xs, seq_lengths=lengths, return_carry=True)
    by_mask = call(rnn, xs, mask=mask, return_carry=True)
    chex.assert_trees_all_equal(by_length, by_mask)


def test_a_reversed_mask_reads_only_the_valid_steps_backwards(rng):
    rnn, _ = twins(rng)
    xs = draw(rng, 1, T, IN)
    mask = jnp.asarray(rng.random((1, T)) < 0.5).at[0, 0].set(True)
    (carry,), _ = call(rnn, xs, mask=mask, reverse=True, return_carry=True)
    (expected,), _ = call(rnn, xs[:, np.flatnonzero(mask)[::-1]], return_carry=True)
    chex.assert_trees_all_close(carry, expected, atol=1e-6)


def test_time_major_is_a_transposition(rng):
    rnn, _ = twins(rng)
    xs, mask = draw(rng, B, T, IN), jnp.asarray(rng.random((B, T)) < 0.7)
    batch_major = call(rnn, xs, mask=mask)
    time_major = call(rnn, jnp.swapaxes(xs, 0, 1), mask=mask.T, time_major=True)
    np.testing.assert_array_equal(batch_major, jnp.swapaxes(time_major, 0, 1))


def test_two_batch_axes_give_the_carry_its_right_shape(rng):
    rnn, _ = twins(rng)
    xs, lengths = draw(rng, 2, B, T, IN), jnp.asarray(rng.integers(1, T + 1, (2, B)))
    (carry,), hs = call(rnn, xs, seq_lengths=lengths, return_carry=True)
    (expected,), hs_flat = rnn(
        xs.reshape(-1, T, IN), seq_lengths=lengths.ravel(), return_carry=True
    )
    np.testing.assert_allclose(hs.reshape(-1, T, D), hs_flat, atol=1e-6)
    np.testing.assert_allclose(carry.h.reshape(-1, D), expected.h, atol=1e-6)


@pytest.mark.parametrize("kind", ["cells in nnx.RNN", "layers"])
def test_bidirectional_concatenates_both_readings(rng, kind):
    (forward, forward_cell), (backward, backward_cell) = twins(rng), twins(rng)
    xs = draw(rng, B, T, IN)
    if kind == "layers":
        both = call(nnx.Bidirectional(forward, backward, rngs=False), xs)
    else:
        rnns = (nnx.RNN(cell, rngs=False) for cell in (forward_cell, backward_cell))
        both = call(nnx.Bidirectional(*rnns, rngs=False), xs)
    np.testing.assert_allclose(both[..., :D], call(forward, xs), atol=1e-5)
    np.testing.assert_allclose(both[..., D:], call(backward, xs[:, ::-1])[:, ::-1], atol=1e-5)


def test_stacked_layers_are_layers_in_a_row(rng):
    stack = SBORNN(IN, D, num_layers=3, rngs=nnx.Rngs(any_seed(rng)))
    xs = draw(rng, B, T, IN)
    hs = xs
    for cell in stack.cells:
        hs = call(nnx.RNN(cell, rngs=False), hs)
    carries, outputs = call(stack, xs, return_carry=True)
    np.testing.assert_allclose(outputs, hs, atol=1e-5)
    assert len(carries) == 3


def test_a_stack_continues_from_its_carries(rng):
    stack = SBORNN(IN, D, num_layers=2, rngs=nnx.Rngs(any_seed(rng)))
    xs = draw(rng, B, T, IN)
    carries, first = call(stack, xs[:, :4], return_carry=True)
    second = call(stack, xs[:, 4:], initial_carry=carries)
    np.testing.assert_allclose(jnp.concatenate([first, second], 1), call(stack, xs), atol=1e-5)


def test_dropout_acts_between_layers_in_training_only(rng):
    seed = any_seed(rng)
    xs = draw(rng, B, T, IN)
    # ReLUs of the upper layer may all be dead, and then nothing shows.
    lower = replace(sbo.PAPER, problem=sbo.Residual(jnp.tanh), eta=sbo.Fixed(0.1))
    plain = SBORNN(IN, D, num_layers=2, lower=lower, rngs=nnx.Rngs(seed))
    stack = SBORNN(IN, D, num_layers=2, lower=lower, dropout=0.5, rngs=nnx.Rngs(seed))
    single = SBORNN(IN, D, num_layers=1, lower=lower, dropout=0.5, rngs=nnx.Rngs(seed))
    nnx.update(stack, nnx.state(plain, nnx.Param))
    assert not np.allclose(call(stack, xs), call(stack, xs))
    np.testing.assert_array_equal(call(single, xs), call(single, xs))
    stack.eval()
    np.testing.assert_array_equal(call(stack, xs), call(plain, xs))


@pytest.mark.parametrize("remat_chunk", [4])
def test_rematerialisation_is_invisible(rng, remat_chunk):
    seed = any_seed(rng)
    xs = draw(rng, B, T, IN)

    def gradient(**kwargs):
        rnn = SBORNN(IN, D, rngs=nnx.Rngs(seed), **kwargs)
        return nnx.to_pure_dict(grad(lambda rnn: jnp.sum(rnn(xs) ** 2))(rnn))

    chex.assert_trees_all_close(
        gradient(), gradient(rollout=sbo.Unrolled(remat_chunk=remat_chunk)), rtol=1e-4, atol=1e-5
    )


def test_fixed_hyperparameters_are_no_params_and_learned_ones_are(rng):
    def trained(lower):
        return set(nnx.state(SBOCell(IN, D, lower=lower, rngs=nnx.Rngs(0)), nnx.Param).keys())

    assert {"eta", "mu"} <= trained(sbo.STABLE)
    assert trained(replace(sbo.PAPER, solver=sbo.nesterov)) & {"eta", "mu"} == {"mu"}
    assert trained(sbo.PAPER) & {"eta", "mu"} == set()
    assert trained(replace(sbo.STABLE, mu=sbo.Fixed(0.9))) & {"eta", "mu"} == {"eta"}


@pytest.mark.slow
def test_training_moves_learned_hyperparameters_and_leaves_fixed_ones(rng):
    lower = replace(sbo.PAPER, solver=sbo.nesterov, eta=sbo.Fixed(0.1))
    model = SBORNN(IN, D, lower=lower, rngs=nnx.Rngs(any_seed(rng)))
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)
    xs = draw(rng, B, T, IN)
    for _ in range(3):
        gradient = grad(lambda model: jnp.mean((model(xs)[:, -1] - 1) ** 2))(model)
        optimizer.update(model, gradient)
    eta, mu = model.cells[0].hyperparameters()
    assert eta == np.float32(0.1)
    assert mu != 0.5


@pytest.mark.slow
def test_a_fixed_normalised_eta_follows_the_bound_and_gets_no_gradient_step(rng):
    """eta L = s with L from an SVD, before and after training has moved W."""
    fraction = float(rng.uniform(0.1, 0.9))
    lower = replace(
        sbo.STABLE, operator=sbo.Dense.init, eta=sbo.Normalised(fraction, trained=False)
    )
    model = SBORNN(IN, D, lower=lower, rngs=nnx.Rngs(any_seed(rng)))
    optimizer = nnx.Optimizer(model, optax.adam(0.1), wrt=nnx.Param)
    xs, cell = draw(rng, B, T, IN), model.cells[0]
    raw, etas = np.asarray(cell.eta[...]), []
    for _ in range(3):
        matrix = np.asarray(nnx.as_pure(cell.theta)(jnp.eye(D)), np.float64)
        bound = 1 + np.linalg.norm(np.eye(D) - matrix, 2) ** 2
        etas.append(float(cell.hyperparameters()[0]))
        assert 0.5 * fraction < etas[-1] * bound <= fraction * (1 + 1e-5)
        gradient = grad(lambda model: jnp.mean((model(xs)[:, -1] - 1) ** 2))(model)
        optimizer.update(model, gradient)
    assert len(set(etas)) == 3
    assert cell.eta[...] == raw


@pytest.mark.slow
@pytest.mark.parametrize("lower", ["stable", "nesterov, low rank"])
def test_normalised_eta_stays_below_the_bound_while_an_aggressive_rate_trains(rng, lower):
    """eta L <= 1 with L from an SVD, at each of 500 steps."""
    model = SBORNN(IN, D, lower=LOWER[lower], rngs=nnx.Rngs(any_seed(rng)))
    xs, ys = draw(rng, B, 4, IN), 10 * draw(rng, B, D)
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    optimizer = optax.adam(0.3)

    def loss(params):
        return jnp.mean((nnx.merge(graphdef, params, rest, copy=True)(xs)[:, -1] - ys) ** 2)

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        params = optax.apply_updates(params, updates)
        cell = nnx.merge(graphdef, params, rest, copy=True).cells[0]
        matrix = nnx.as_pure(cell.theta)(jnp.eye(D))
        return (params, state), (*cell.hyperparameters(), matrix)

    (last, _), (etas, mus, matrices) = jax.jit(
        lambda carry: jax.lax.scan(step, carry, None, length=500)
    )((params, optimizer.init(params)))
    sigma = np.linalg.norm(np.eye(D) - np.asarray(matrices, np.float64), 2, axis=(1, 2))
    assert np.all(np.max(etas, axis=-1) * (1 + sigma**2) <= 1)
    assert np.all((mus >= 0) & (mus < 1))
    assert np.ptp(1 + sigma**2) > 0.3  # the rate was aggressive: the bound had to move
    assert not jnp.allclose(last["cells"][0]["eta"][...], params["cells"][0]["eta"][...])


def test_a_saturated_sigmoid_still_keeps_mu_below_one_and_eta_below_the_bound():
    cell = SBOCell(IN, D, rngs=nnx.Rngs(0))
    cell.eta[...] = cell.mu[...] = jnp.full(D, 1e4)
    eta, mu = cell.hyperparameters()
    assert np.all(mu < 1)
    assert np.all(eta * cell.smoothness() < 1)


def test_gradients_flow_through_the_bound(rng):
    cell = SBOCell(IN, D, rngs=nnx.Rngs(any_seed(rng)))
    gradient = grad(lambda cell: jnp.sum(cell.hyperparameters()[0]))(cell)
    assert float(jnp.max(jnp.abs(gradient["theta"]["a"][...]))) > 0


def test_hyperparameter_values_do_not_enter_the_compiled_program(rng):
    """Cells that differ in eta and mu alone share one trace."""

    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(model, xs):
        return call(model, xs)

    xs = draw(rng, B, T, IN)
    for eta in rng.uniform(0.01, 0.5, 3):
        lower = sbo.LowerLevel(sbo.nesterov, eta=sbo.Fixed(eta), mu=sbo.Fixed(eta))
        run(SBORNN(IN, D, lower=lower, rngs=nnx.Rngs(any_seed(rng))), xs)


def test_a_vmapped_sweep_trains_many_etas_in_one_trace(rng):
    model = SBORNN(IN, D, lower=sbo.PAPER, rngs=nnx.Rngs(any_seed(rng)))
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    xs = draw(rng, B, T, IN)

    @chex.assert_max_traces(n=1)
    def gradient(eta):
        def loss(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            model.cells[0].eta[...] = eta
            return jnp.sum(call(model, xs) ** 2)

        return jax.grad(loss)(params)

    etas = jnp.asarray(rng.uniform(0.01, 0.5, 5), jnp.float32)
    swept = jax.jit(jax.vmap(gradient))(etas)
    for i, eta in enumerate(etas):
        single = SBORNN(IN, D, lower=replace(sbo.PAPER, eta=sbo.Fixed(eta)), rngs=nnx.Rngs(0))
        nnx.update(single, params)
        expected = grad(lambda model: jnp.sum(model(xs) ** 2))(single)
        chex.assert_trees_all_close(
            jax.tree.map(lambda x, i=i: x[i], nnx.to_pure_dict(swept)),
            nnx.to_pure_dict(expected),
            rtol=1e-4,
            atol=1e-5,
        )


def test_the_iterate_stays_in_float32_when_inputs_are_bfloat16(rng):
    rnn, _ = twins(rng, sbo.PAPER)
    hs = rnn(draw(rng, B, T, IN).astype(jnp.bfloat16))
    assert hs.dtype == jnp.float32
    assert not np.array_equal(hs[:, 0], hs[:, 1])


def products(jaxpr):
    """Every matrix product of a program, loops and calls included."""
    for eqn in jaxpr.eqns:
        if eqn.primitive is jax.lax.dot_general_p:
            yield eqn
        for inner in jaxprs_in_params(eqn.params):
            yield from products(inner)


@pytest.mark.parametrize("operator", [sbo.Dense.init, sbo.LowRank.init])
def test_with_a_dtype_every_product_of_a_training_step_is_computed_in_it(rng, operator):
    lower = replace(sbo.PAPER, operator=operator)
    rnn, _ = twins(rng, lower, dtype=jnp.bfloat16)
    graphdef, params = nnx.split(rnn)

    def loss(params, xs):
        return jnp.sum(nnx.merge(graphdef, params)(xs) ** 2)

    program = jax.make_jaxpr(jax.grad(loss))(params, draw(rng, B, T, IN))
    found = list(products(program.jaxpr))
    assert len(found) >= 2 + 4  # drives and V; forward, both factors backward
    for eqn in found:
        assert {x.aval.dtype for x in (*eqn.invars, *eqn.outvars)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("lower", ["stable", "paper", "nesterov, low rank", "adam, scalar"])
def test_states_and_gradients_stay_in_float32_and_close_with_bfloat16_products(rng, lower):
    seed, xs = any_seed(rng), draw(rng, B, T, IN)
    coarse, fine = (
        SBORNN(IN, D, lower=LOWER[lower], dtype=dtype, rngs=nnx.Rngs(seed))
        for dtype in (jnp.bfloat16, None)
    )
    hs, expected = call(coarse, xs), call(fine, xs)
    assert hs.dtype == jnp.float32
    # The typical state: one draw in thirty has a state at a kink of ReLU, which rounding sends to
    # the other side, and momentum far from there.
    difference = float(jnp.median(jnp.abs(hs - expected)))
    assert difference < 0.05 * float(jnp.median(jnp.abs(expected)))
    assert np.mean(hs != expected) > 0.25  # of Adam's steps, which have one size, only half change
    gradient = grad(lambda model: jnp.sum(model(xs) ** 2))(coarse)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype(jnp.float32)}


def test_the_papers_small_steps_are_not_swallowed_by_bfloat16_products(rng):
    rnn, _ = twins(rng, replace(sbo.PAPER, operator=sbo.Dense.init), dtype=jnp.bfloat16)
    far = sbo.LowerCarry(jnp.full((B, D), 100.0), rnn.cells[0].initialize_carry((B, IN))[1])
    hs = call(rnn, draw(rng, B, 1, IN), initial_carry=(far,))
    # bfloat16's neighbours of 100 are 0.5 away; steps below 4e-6 are too small for float32 as well
    assert np.mean(hs[:, 0] != 100.0) > 0.5


def test_an_operator_that_cannot_multiply_in_a_dtype_is_refused(rng):
    class Shift:
        num_parameters = 0
        units_interact = True

        def __call__(self, h):
            return h

        def gap(self, alpha):
            return jnp.zeros(())

        def curvature(self, alpha):
            return jnp.ones(())

    lower = replace(sbo.PAPER, operator=lambda key, features, dtype: Shift())
    with pytest.raises(ValueError, match="got Shift"):
        twins(rng, lower, dtype=jnp.bfloat16)


@pytest.mark.parametrize("head", [sbo.SequenceClassifier, sbo.SequenceRegressor])
def test_heads_read_the_last_valid_state(rng, head):
    rnn, cell = twins(rng)
    model = head(rnn, D, 2, rngs=nnx.Rngs(any_seed(rng)))
    on_cell = head(nnx.RNN(cell, rngs=False), D, 2, rngs=nnx.Rngs(0))
    on_cell.kernel, on_cell.bias = model.kernel, model.bias
    xs, lengths = draw(rng, B, T, IN), jnp.asarray(rng.integers(1, T + 1, B))
    last = call(rnn, xs)[np.arange(B), lengths - 1]
    expected = last @ model.kernel[...] + jnp.tile(model.bias[...], (B, 1))
    np.testing.assert_allclose(call(model, xs, seq_lengths=lengths), expected, atol=1e-5)
    np.testing.assert_allclose(call(on_cell, xs, seq_lengths=lengths), expected, atol=1e-5)
    mask = jnp.arange(T)[None] < lengths[:, None]
    np.testing.assert_allclose(call(model, xs, mask=mask), expected, atol=1e-5)


def test_a_classifier_works_on_flax_cells(rng):
    lstm = nnx.RNN(nnx.OptimizedLSTMCell(IN, D, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))
    model = sbo.SequenceClassifier(lstm, D, 5, rngs=nnx.Rngs(0))
    assert model.predict(draw(rng, B, T, IN)).shape == (B,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eta": sbo.Fixed(0.0)}, "expected a finite eta > 0, got 0;"),
        ({"eta": sbo.Fixed(float("inf"))}, "expected a finite eta > 0, got inf"),
        ({"eta": sbo.Fixed(-1e-3)}, "expected a finite eta > 0, got -0.001"),
        ({"eta": sbo.Fixed(float("nan"))}, "expected a finite eta > 0, got nan"),
        ({"eta": sbo.Positive(-1.0)}, "got -1"),
        ({"eta": sbo.Normalised(1.0)}, "expected 0 < eta L < 1, got 1"),
        ({"eta": sbo.Fixed(jnp.ones(D - 1))}, "one value for each of the 6 hidden units"),
        ({"mu": sbo.Fixed(1.0)}, "expected 0 <= mu < 1, got 1;"),
        ({"mu": sbo.Learned(-0.1)}, "expected 0 <= mu < 1, got -0.1"),
        ({"mu": sbo.Bounded(sbo.PerUnit(0.0))}, "expected 0 < value < 1, got 0"),
        ({"problem": sbo.Residual(jnp.tanh)}, "got tanh"),
    ],
)
def test_a_wrong_lower_level_is_refused_at_construction(change, message):
    with pytest.raises(ValueError, match=message):
        SBOCell(IN, D, lower=replace(sbo.STABLE, **change), rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((B, T, IN + 1), {}, "expected inputs with 3 features in the last axis, got 4"),
        ((B, T, IN), {"mask": jnp.ones((B, T - 1), bool)}, "expected a mask of the inputs' shape"),
        ((B, T, IN), {"mask": jnp.ones((T, B), bool)}, r"\(4, 9\), got \(9, 4\)"),
        ((B, T, IN), {"seq_lengths": jnp.ones(B - 1, int)}, "expected seq_lengths of the batch"),
        ((B, T, IN), {"initial_carry": ()}, "expected one carry for each of 1 layer, got 0"),
        (
            (B, T, IN),
            {"mask": jnp.ones((B, T), bool), "seq_lengths": jnp.ones(B, int)},
            "expected seq_lengths or mask, got both",
        ),
    ],
)
def test_wrong_shapes_are_refused_by_name(shape, arguments, message):
    rnn = SBORNN(IN, D, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=message):
        rnn(jnp.ones(shape), **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eta": 0.05}, r"expected eta as Fixed\(0.05\)"),
        ({"solver": "sgd"}, "expected solver as a function"),
        ({"operator": None}, "expected operator as a function"),
        ({"operator": sbo.Dense}, "got Dense; try Dense.init"),
        ({"problem": sbo.Residual}, r"got Residual; try Residual\(\)"),
    ],
)
def test_the_wrong_kind_of_object_is_refused_by_name(change, message):
    level = copy.copy(sbo.STABLE)  # past the type checks that are on in tests only
    for name, value in change.items():
        object.__setattr__(level, name, value)
    with pytest.raises(ValueError, match=message):
        level.__post_init__()


def test_a_read_out_refuses_a_cell_and_a_layer_of_another_width():
    cell, rnn = SBOCell(IN, D, rngs=nnx.Rngs(0)), SBORNN(IN, D, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"got the cell SBOCell; wrap it in nnx.RNN"):
        sbo.SequenceClassifier(cell, D, 2, rngs=nnx.Rngs(0))
    model = sbo.SequenceClassifier(rnn, D + 1, 2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=f"expected {D + 1} hidden features .*, got {D}"):
        model(jnp.ones((B, T, IN)))


def test_a_deep_copy_of_a_model_computes_the_same(rng):
    rnn, _ = twins(rng)
    xs = draw(rng, B, T, IN)
    np.testing.assert_array_equal(call(copy.deepcopy(rnn), xs), call(rnn, xs))


def test_a_mask_of_a_head_has_the_layout_of_its_inputs(rng):
    """With as many samples as steps, a transposed mask would not be noticed."""
    rnn, _ = twins(rng)
    model = sbo.SequenceClassifier(rnn, D, 2, rngs=nnx.Rngs(0))
    xs, lengths = draw(rng, T, T, IN), jnp.asarray(rng.integers(1, T + 1, T))
    mask = jnp.arange(T)[None] < lengths[:, None]
    by_mask, by_length = call(model, xs, mask=mask), call(model, xs, seq_lengths=lengths)
    np.testing.assert_allclose(by_mask, by_length, atol=1e-6)


@pytest.mark.parametrize("change", [{"num_layers": 0}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_wrong_layer_settings_are_refused(change):
    with pytest.raises(ValueError, match="expected"):
        SBORNN(IN, D, rngs=nnx.Rngs(0), **change)


def training_step_bytes(num_steps, operator=sbo.Dense, **options):
    """Temporary memory of a gradient in x and all parameters, read off the compiled program."""
    rngs = nnx.Rngs(0)
    lower = replace(sbo.PAPER, operator=operator.init)
    rnn = SBORNN(9, 128, lower=lower, rollout=sbo.Unrolled(**options), rngs=rngs)
    graphdef, state = nnx.split(sbo.SequenceClassifier(rnn, 128, 6, rngs=rngs))

    def loss(state, xs):
        return jnp.sum(nnx.merge(graphdef, state, copy=True)(xs))

    xs = jax.ShapeDtypeStruct((64, num_steps, 9), jnp.float32)
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1), allow_int=True))
    return gradient.lower(state, xs).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.slow
def test_long_sequences_are_rematerialised_by_default_and_short_ones_kept():
    for operator in (sbo.Dense, sbo.Scalar):
        kept = training_step_bytes(784, operator, remat_chunk=784)
        assert training_step_bytes(784, operator, platform="cpu") <= 0.25 * kept
        assert training_step_bytes(784, operator, platform="tpu") <= 0.25 * kept
        assert training_step_bytes(784, operator, platform="gpu") == kept
    assert training_step_bytes(128) == training_step_bytes(128, remat_chunk=128)
    assert training_step_bytes(128) > 2 * training_step_bytes(128, remat_chunk=11)
    assert training_step_bytes(10_000, platform="gpu") <= 0.25 * training_step_bytes(
        10_000, remat_chunk=10_000
    )


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
def test_drives_made_chunk_by_chunk_change_nothing(x64, rng, masked):
    xs = draw(rng, B, T, IN)
    mask = jnp.asarray(rng.random((B, T)) < 0.7) if masked else None
    seed = any_seed(rng)
    results = []
    for chunk in (T, 3):
        rollout = sbo.Unrolled(remat_chunk=chunk)
        rnn = SBORNN(IN, D, rollout=rollout, param_dtype=jnp.float64, rngs=nnx.Rngs(seed))
        results.append(
            (call(rnn, xs, mask=mask), grad(lambda r: jnp.sum(r(xs, mask=mask) ** 2))(rnn))
        )
    (hs, gradient), (chunked_hs, chunked_gradient) = results
    np.testing.assert_allclose(chunked_hs, hs, rtol=1e-12)
    chex.assert_trees_all_close(*map(nnx.to_pure_dict, (chunked_gradient, gradient)), rtol=1e-9)


@pytest.mark.parametrize("name", ["dtype", "param_dtype"])
@pytest.mark.parametrize("dtype", [jnp.int8, "bool", "float16", "complex64", "foo"])
def test_types_that_cannot_be_trained_in_are_refused(name, dtype):
    with pytest.raises(ValueError, match="expected one of the dtypes bfloat16, float32, float64"):
        sbo.SBORNN(2, 4, rngs=nnx.Rngs(0), **{name: dtype})


def test_padding_may_hold_anything_and_leaves_gradients_alone(rng):
    layer = sbo.SBORNN(2, 4, num_layers=2, rngs=nnx.Rngs(0))
    xs = jnp.asarray(rng.normal(size=(3, 6, 2)), jnp.float32)
    lengths = jnp.asarray([6, 2, 0])
    inside = np.arange(6) < np.asarray(lengths)[:, None]

    def gradient(layer, padding):
        padded = jnp.where(inside[..., None], xs, padding)
        return nnx.grad(lambda layer: jnp.sum(layer.last_state(padded, seq_lengths=lengths) ** 2))(
            layer
        )

    chex.assert_trees_all_equal(gradient(layer, jnp.nan), gradient(layer, 0.0))


def test_a_rollout_is_an_object():
    with pytest.raises(ValueError, match=r"expected a rollout like Unrolled\(\)"):
        sbo.SBORNN(2, 4, rollout=sbo.Unrolled, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (sbo.Unrolled, {"remat_chunk": True}),
        (sbo.Unrolled, {"remat_chunk": 0}),
        (sbo.Parallel, {"max_iterations": True}),
        (sbo.Fused, {"batch_block": 0}),
    ],
)
def test_counts_are_whole_numbers(kind, options):
    with pytest.raises(ValueError, match=f"expected {next(iter(options))} as a whole number"):
        kind(**options)


def test_the_last_state_needs_no_info(rng):
    layer = sbo.SBORNN(2, 4, rngs=nnx.Rngs(0))
    xs = jnp.asarray(rng.normal(size=(3, 6, 2)), jnp.float32)
    np.testing.assert_array_equal(layer.last_state(xs, return_info=True), layer(xs)[:, -1])


@pytest.mark.parametrize(
    "solver", [lambda eta, decay=0.0, mu=0.9: None, lambda mu, eta: None, lambda eta, *, mu: None]
)
def test_a_solver_whose_second_argument_is_not_mu_is_refused(solver):
    with pytest.raises(ValueError, match="as a function of eta, or of eta and mu"):
        sbo.LowerLevel(solver, sbo.Fixed(0.1), sbo.Fixed(0.5))


@dataclass(frozen=True)
class Unbounded:
    """An energy that states no bound of its Hessian."""

    def __call__(self, h, u, theta, h_prev):
        return jnp.sum((h - u) ** 4, axis=-1)


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: damped(e, 0.1), proximal, averaged])
def test_an_energy_without_a_bound_has_none_where_it_is_part_of_another(wrap):
    if wrap is not proximal:  # which is refused for another reason
        with pytest.raises(ValueError, match=r"smoothness\(theta\) -> L"):
            eta_bounds(wrap(Unbounded()), None, 10)
    lower = replace(sbo.PAPER, problem=wrap(Unbounded()))
    cell = sbo.SBOCell(2, 4, lower=lower, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"smoothness\(theta\) -> L"):
        cell.smoothness()
