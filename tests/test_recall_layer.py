"""A layer of memories against its own equations, its steps, its pieces and its samples alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import sbo_jax as sbo
from sbo_jax.nn import RecallRNN, SequenceTagger, SingleStep, layer_gradient_flow

B, T, D, HIDDEN, HEADS = 3, 21, 5, 12, 3
SIZE = HIDDEN // HEADS


def make(rng, **options):
    rngs = nnx.Rngs(int(rng.integers(2**31)))
    options = {"num_heads": HEADS, "param_dtype": jnp.float64} | options
    return RecallRNN(D, HIDDEN, **options, rngs=rngs)


def draw(rng, steps=T):
    return jnp.asarray(rng.normal(size=(B, steps, D)))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def unit(x):
    return x / np.sqrt((x**2).sum(-1, keepdims=True) + 1e-6)


def by_equations(memories, xs):
    """One layer on one sequence [T, d], step by step and head by head, in NumPy."""
    p = {
        name: np.asarray(value[...])
        for name, value in vars(memories).items()
        if isinstance(value, nnx.Param)
    }
    states, outputs = np.zeros((HEADS, SIZE, SIZE)), []
    projected = xs @ p["kernel"]
    for t, x in enumerate(xs):
        seen = [projected[t - 3 + i] if t - 3 + i >= 0 else 0 * projected[0] for i in range(4)]
        convolved = sum(w * s for w, s in zip(p["window"], seen, strict=True))
        active = (convolved * sigmoid(convolved)).reshape(HEADS, 3, SIZE)
        betas = sigmoid(x @ p["weight_kernel"] + p["weight_bias"])
        answers = np.zeros((HEADS, SIZE))
        for head in range(HEADS):
            q, k, v = unit(active[head, 0]), unit(active[head, 1]), active[head, 2]
            states[head] -= betas[head] * np.outer(states[head] @ k - v, k)
            answers[head] = unit(states[head] @ q) * SIZE**0.5 * p["scale"]
        outputs.append(answers.ravel() @ p["out_kernel"])
    return np.stack(outputs)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_the_layer_is_its_equations(num_layers, x64, rng):
    layer, xs = make(rng, num_layers=num_layers), draw(rng)
    for found, sequence in zip(layer(xs), np.asarray(xs), strict=True):
        expected = by_equations(layer.memories[0], sequence)
        for memories in layer.memories[1:]:
            expected = expected + by_equations(memories, expected)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)


def of_every_number(layer, xs, **options):
    """Outputs, carry, and the gradient of a sum of their squares in all parameters and inputs."""
    graphdef, state = nnx.split(layer)

    def loss(state, xs):
        carry, ys = nnx.merge(graphdef, state)(xs, return_carry=True, **options)
        ends = [jnp.sum(leaf**2) for leaf in jax.tree.leaves(carry)]
        return jnp.sum(ys**2) + sum(ends), (ys, carry)

    gradients, found = jax.grad(loss, argnums=(0, 1), has_aux=True)(state, xs)
    return jax.tree.leaves((found, gradients))


def check_equal(found, expected, tolerance=1e-9):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            a, b, rtol=tolerance, atol=tolerance * max(1, np.abs(b).max(initial=0))
        )


def test_chunks_are_steps_of_sgd_in_value_and_gradient(x64, rng):
    seed, xs = int(rng.integers(2**31)), draw(rng, 90)
    mask = jnp.asarray(rng.random((B, 90)) < 0.6)
    by_chunks, by_steps = (
        RecallRNN(
            D,
            HIDDEN,
            num_heads=HEADS,
            num_layers=2,
            solver=solver,
            param_dtype=jnp.float64,
            rngs=nnx.Rngs(seed),
        )
        for solver in (None, sbo.sgd(1.0))
    )
    for options in ({}, {"mask": mask}):
        check_equal(
            of_every_number(by_chunks, xs, **options), of_every_number(by_steps, xs, **options)
        )


@pytest.mark.parametrize("solver", [None, sbo.heavy_ball(0.5, 0.8)])
@pytest.mark.parametrize("cut", [1, 2, 8, T - 1])
def test_pieces_are_the_whole(solver, cut, x64, rng):
    layer, xs = make(rng, num_layers=2, solver=solver), draw(rng)
    whole, outputs = layer(xs, return_carry=True)
    middle, first = layer(xs[:, :cut], return_carry=True)
    end, second = layer(xs[:, cut:], initial_carry=middle, return_carry=True)
    check_equal([jnp.concatenate([first, second], 1)], [outputs])
    check_equal(jax.tree.leaves(end), jax.tree.leaves(whole))


@pytest.mark.parametrize("solver", [None, sbo.heavy_ball(0.5, 0.8)])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_mask_leaves_what_its_steps_alone_give(solver, reverse, x64, rng):
    layer, xs = make(rng, num_layers=2, solver=solver, reverse=reverse, keep_order=True), draw(rng)
    mask = rng.random((B, T)) < rng.random((B, 1))
    mask[0, 0] = True
    poisoned = jnp.where(mask[..., None], xs, jnp.nan)
    carry, outputs = layer(poisoned, mask=jnp.asarray(mask), return_carry=True)
    for i, valid in enumerate(mask):
        alone, expected = layer(xs[i, valid], return_carry=True)
        check_equal([outputs[i, valid]], [expected])
        check_equal([leaf[i] for leaf in jax.tree.leaves(carry)], jax.tree.leaves(alone))
    last = layer.last_state(poisoned, mask=jnp.asarray(mask))
    expected = [
        np.zeros(HIDDEN)
        if not valid.any()
        else outputs[i, np.flatnonzero(valid)[0 if reverse else -1]]
        for i, valid in enumerate(mask)
    ]
    check_equal([last], [np.stack(expected)])


def test_lengths_are_masks_and_padding_repeats_the_last_output(x64, rng):
    layer, xs = make(rng), draw(rng)
    lengths = rng.integers(1, T + 1, size=B)
    mask = np.arange(T) < lengths[:, None]
    outputs = layer(xs, seq_lengths=lengths)
    check_equal([outputs], [layer(xs, mask=jnp.asarray(mask))])
    for found, length in zip(outputs, lengths, strict=True):
        check_equal([found[length:]], [np.broadcast_to(found[length - 1], (T - length, HIDDEN))])
    flags = {"time_major": True, "seq_lengths": lengths}
    check_equal([layer.last_state(jnp.swapaxes(xs, 0, 1), **flags)], [outputs[:, -1]])


def test_the_gradient_of_a_mask_meets_no_nan(x64, rng):
    layer, xs = make(rng), draw(rng)
    mask = jnp.asarray(rng.random((B, T)) < 0.5)
    found = of_every_number(layer, jnp.where(mask[..., None], xs, jnp.nan), mask=mask)
    assert all(np.isfinite(leaf).all() for leaf in found)


def test_a_model_reads_it_one_step_at_a_time(rng):
    layer, xs = make(rng, param_dtype=jnp.float32, num_layers=2), draw(rng).astype(jnp.float32)
    model = SequenceTagger(layer, HIDDEN, 4, rngs=nnx.Rngs(0))
    step, outputs = SingleStep(model, B, D), model(xs)
    carry = step.initial_carry
    for t in range(T):
        carry, found = step(carry, np.asarray(xs[:, t]))
        check_equal([found], [outputs[:, t]], 1e-4)


def test_its_gradient_flows_back_to_the_first_step(rng):
    xs = jnp.swapaxes(draw(rng), 0, 1)
    flow = layer_gradient_flow(make(rng, param_dtype=jnp.float32), xs)
    assert flow.shape == (T,)
    assert np.all(np.isfinite(flow) & (flow > 0))


def test_products_in_bfloat16_are_near(rng):
    seed, xs = int(rng.integers(2**31)), draw(rng).astype(jnp.float32)
    exact, rounded = (
        RecallRNN(D, HIDDEN, num_heads=HEADS, dtype=dtype, rngs=nnx.Rngs(seed))(xs)
        for dtype in (None, jnp.bfloat16)
    )
    assert rounded.dtype == jnp.float32
    # not the largest: a first answer near 0 may change its sign before it is given norm 1
    error = np.median(np.abs(exact - rounded))
    assert 0 < error < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_heads": 5}, "hidden_features as a multiple of 5 heads, got 12"),
        ({"num_heads": 0}, "num_heads"),
        ({"num_layers": 0}, "num_layers"),
        ({"dtype": jnp.int32}, "dtype"),
    ],
)
def test_what_cannot_be_is_refused(options, words, rng):
    with pytest.raises(ValueError, match=words):
        make(rng, **{"param_dtype": jnp.float32} | options)


def test_a_carry_of_plain_tuples_will_do(rng):
    layer, xs = make(rng, param_dtype=jnp.float32), draw(rng).astype(jnp.float32)
    carry, _ = layer(xs, return_carry=True)
    plain = [tuple(carry[0]._replace(memory=tuple(carry[0].memory)))]
    check_equal([layer(xs, initial_carry=plain)], [layer(xs, initial_carry=carry)])


def test_no_step_has_no_last_state(rng):
    layer = make(rng, param_dtype=jnp.float32)
    assert layer(jnp.ones((B, 0, D))).shape == (B, 0, HIDDEN)
    with pytest.raises(ValueError, match="a step to read"):
        layer.last_state(jnp.ones((B, 0, D)))


def test_inputs_and_carries_that_do_not_fit_are_refused(rng):
    layer, xs = make(rng, param_dtype=jnp.float32), draw(rng).astype(jnp.float32)
    with pytest.raises(ValueError, match="5 features in the last axis, got 4"):
        layer(xs[..., 1:])
    for carry in (layer.initialize_carry((B + 1,)), 2 * layer.initialize_carry((B,)), 0):
        with pytest.raises(ValueError, match="a carry of this layer"):
            layer(xs, initial_carry=carry)
    other = make(rng, param_dtype=jnp.float32, solver=sbo.heavy_ball(0.5, 0.8))
    with pytest.raises(ValueError, match="a carry of this layer"):
        layer(xs, initial_carry=other.initialize_carry((B,)))
