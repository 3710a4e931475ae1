"""Lengths and masks that cannot be are refused; a layer is read out where it ends."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import call
from flax import nnx

import sbo_jax as sbo
from sbo_jax.nn.validity import as_lengths

B, T, IN, D = 4, 6, 3, 5
# No unit rests, as ReLU's do.
SMOOTH = replace(sbo.STABLE, problem=sbo.Residual(jnp.tanh), eta=sbo.Fixed(0.3))


def layer(**options):
    return sbo.SBORNN(IN, D, rngs=nnx.Rngs(0), **options)


def head(rnn, width=D):
    return sbo.SequenceClassifier(rnn, width, 2, rngs=nnx.Rngs(1))


def gru(**options):
    return nnx.RNN(nnx.GRUCell(IN, D, rngs=nnx.Rngs(0)), **options)


def language_model():
    rngs = nnx.Rngs(0)
    return sbo.SequenceLanguageModel(sbo.SBORNN(D, D, rngs=rngs), D, 7, rngs=rngs)


READERS = {
    "layer": (layer, lambda lengths: lengths),
    "reversed layer": (partial(layer, reverse=True), lambda lengths: lengths),
    "equilibrium": (partial(layer, rollout=sbo.StepEquilibrium()), lambda lengths: lengths),
    "head": (lambda: head(layer()), lambda lengths: lengths),
    "head of a GRU": (lambda: head(gru()), lambda lengths: np.maximum(lengths, 1)),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "wrong", [T + 3, -1, 2**40, 2.5, np.nan, True, "2", None], ids=lambda wrong: repr(wrong)
)
def test_a_length_that_no_sequence_has_is_refused(name, wrong, rng):
    xs = rng.normal(size=(B, T, IN)).astype(np.float32)
    with pytest.raises(ValueError, match="expected seq_lengths"):
        READERS[name][0]()(xs, seq_lengths=[wrong] * B if wrong is True else [2, 3, wrong, 1])


def test_a_language_model_checks_lengths_as_others_do(rng):
    tokens = rng.integers(0, 7, (B, T))
    with pytest.raises(ValueError, match="from 1 to 6"):
        language_model()(tokens, seq_lengths=[1, 2, 7, 3])


@pytest.mark.parametrize("name", READERS)
def test_a_traced_length_is_clipped_to_the_steps_there_are(name, rng):
    build, clipped = READERS[name]
    xs = rng.normal(size=(B, T, IN)).astype(np.float32)
    lengths = np.array([-2, 3, T + 4, 0])
    expected = call(build(), xs, seq_lengths=clipped(np.clip(lengths, 0, T)))
    traced = nnx.jit(lambda model, xs, lengths: model(xs, seq_lengths=lengths))
    np.testing.assert_array_equal(traced(build(), xs, lengths), expected)


@pytest.mark.parametrize("kind", np.typecodes["AllInteger"])
def test_a_traced_length_means_the_same_in_every_whole_type(kind, rng):
    limits, steps = np.iinfo(kind), int(rng.integers(300, 40_000))
    lengths = rng.integers(limits.min, limits.max, 50, dtype=kind, endpoint=True)
    lengths[:4] = limits.min, limits.max, min(steps, limits.max), 0
    within = jax.dtypes.canonicalize_dtype(kind) == kind  # JAX itself narrows what it does not hold
    expected = np.clip(lengths if within else jnp.asarray(lengths), 0, steps)
    clipped = jax.jit(lambda lengths: as_lengths(lengths, (50,), steps))(lengths)
    np.testing.assert_array_equal(clipped, expected)


@pytest.mark.parametrize("kind", [int, float, np.uint8])
@pytest.mark.parametrize(
    "rollout",
    [
        sbo.Unrolled(),
        sbo.SequenceEquilibrium(),
        sbo.StepEquilibrium(),
        sbo.Streamed(),
    ],
    ids=lambda rollout: type(rollout).__name__,
)
def test_a_mask_is_of_bool_for_every_rollout(kind, rollout):
    with pytest.raises(ValueError, match=r"mask of bool.*mask > 0"):
        layer(rollout=rollout)(jnp.ones((B, T, IN)), mask=jnp.ones((B, T), kind))


# Directions.


@pytest.fixture(params=[False, True], ids=["whole", "lengths"])
def batch(request, rng):
    xs = rng.normal(size=(B, T, IN)).astype(np.float32)
    lengths = rng.integers(1, T + 1, B) if request.param else np.full(B, T)
    return xs, lengths, {"seq_lengths": lengths} if request.param else {}


def one_by_one(rnn, xs, lengths, *, backwards):
    """The last state of every sequence alone, cut to its length and turned round by NumPy."""
    own = [x[:n][::-1] if backwards else x[:n] for x, n in zip(xs, lengths, strict=True)]
    return np.concatenate([call(rnn, x[None].copy(), reverse=False)[:, -1] for x in own])


def read_out(model, state):
    return state @ np.asarray(model.kernel[...]) + np.asarray(model.bias[...])


@pytest.mark.parametrize("keep_order", [False, True])
@pytest.mark.parametrize("build", [layer, gru])
def test_a_head_reads_a_layer_out_in_its_own_direction(build, keep_order, batch):
    xs, lengths, options = batch
    rnn = build(reverse=True, keep_order=keep_order)
    ours = call(head(rnn), xs, **options)
    state = one_by_one(rnn, xs, lengths, backwards=True)
    expected = read_out(head(rnn), state)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("build", [layer, gru])
def test_a_head_reads_each_half_of_a_bidirectional_layer_out_at_its_own_end(build, batch):
    xs, lengths, options = batch
    rnn = nnx.Bidirectional(build(), build())
    ours = call(head(rnn, 2 * D), xs, **options)
    states = [
        one_by_one(half, xs, lengths, backwards=backwards)
        for half, backwards in ((rnn.forward_rnn, False), (rnn.backward_rnn, True))
    ]
    expected = read_out(head(rnn, 2 * D), np.concatenate(states, axis=-1))
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("build", [partial(layer, lower=SMOOTH), gru], ids=["layer", "gru"])
@pytest.mark.parametrize("half", [slice(0, D), slice(D, 2 * D)], ids=["forward", "backward"])
def test_each_half_of_a_bidirectional_classifier_sees_every_step(build, half, rng):
    xs = rng.normal(size=(B, T, IN)).astype(np.float32)
    model = head(nnx.Bidirectional(build(), build()), 2 * D)
    kernel = model.kernel[...]
    model.kernel[...] = jnp.zeros_like(kernel).at[half].set(kernel[half])
    graphdef, state = nnx.split(model)

    def total(xs):
        return jnp.sum(nnx.merge(graphdef, state, copy=True)(xs)[:, 0])

    sensitivity = jax.jit(jax.grad(total))(xs)
    assert jnp.all(jnp.any(sensitivity != 0, axis=-1))


def test_a_bidirectional_classifier_learns_what_one_direction_alone_sees_last(rng):
    xs = rng.normal(size=(64, T, IN)).astype(np.float32)
    labels = (xs[:, 0, 0] > 0) * 1
    model = head(nnx.Bidirectional(layer(), layer()), 2 * D)

    def loss(model):
        return jnp.mean(jnp.logaddexp(0, (1 - 2 * labels) * (model(xs) @ jnp.array([-1.0, 1.0]))))

    gradients = nnx.jit(nnx.grad(loss))(model)
    backward = jax.tree.leaves(gradients["rnn"]["backward_rnn"])
    assert all(bool(jnp.any(leaf != 0)) for leaf in backward)


@pytest.mark.parametrize(
    "build",
    [
        partial(layer, reverse=True),
        partial(gru, reverse=True),
        partial(layer, rollout=sbo.SequenceEquilibrium()),
        partial(layer, rollout=sbo.Streamed()),
    ],
)
def test_a_language_model_has_not_read_what_it_predicts(build):
    with pytest.raises(ValueError, match="steps so far"):
        sbo.SequenceLanguageModel(build(), D, 7, rngs=nnx.Rngs(0))


ROLLOUTS = {
    "unrolled": sbo.Unrolled(),
    "parallel": sbo.Parallel(),
    "fused": sbo.Fused(interpret=True),
    "step": sbo.StepEquilibrium(damping=1.0),
    "sequence": sbo.SequenceEquilibrium(damping=1.0),
    "streamed": sbo.Streamed(damping=1.0),
}


@pytest.mark.parametrize("name", ROLLOUTS)
def test_a_causal_rollout_knows_the_inputs_so_far_and_no_other_does(name, rng):
    lower = replace(SMOOTH, operator=sbo.Diagonal.init)
    # 16 units, the fewest that a kernel computes on.
    rnn = sbo.SBORNN(IN, 16, lower=lower, rollout=ROLLOUTS[name], rngs=nnx.Rngs(0))
    xs = rng.normal(size=(B, T, IN)).astype(np.float32)
    other = xs.copy()
    other[:, -1] += 1
    assert np.array_equal(rnn(xs)[:, :-1], rnn(other)[:, :-1]) == ROLLOUTS[name].causal
