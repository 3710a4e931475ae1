"""One time step after another, a model reads out what it reads out of the whole sequence."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiled import call
from flax import nnx

import sbo_jax as sbo
from sbo_jax.nn import SequenceTagger, SingleStep
from sbo_jax.runs.config.registry import PEERS

T, IN, D, OUT = 7, 3, 16, 2
SGD = replace(sbo.PAPER, eta=sbo.Fixed(0.2), operator=sbo.Dense.init)
TWO_LAYERS = "Nesterov, low rank, eta normalised per unit, two layers"


def layer(**options):
    return lambda rngs: sbo.SBORNN(IN, D, rngs=rngs, **options)


def peer(name):
    return lambda rngs: PEERS[name](IN, D, T, rngs)


LAYERS = {
    TWO_LAYERS: layer(
        num_layers=2,
        dropout=0.5,
        lower=replace(sbo.STABLE, solver=sbo.nesterov, operator=sbo.LowRank.init),
    ),
    "heavy ball, dense": layer(lower=sbo.STABLE),
    "SGD, several inner steps, in chunks": layer(
        lower=SGD, rollout=sbo.Unrolled(inner_steps=3, remat_chunk=2)
    ),
    "Adam, eta per unit": layer(
        lower=replace(
            SGD, solver=partial(optax.adam, eps=1e-2), eta=sbo.Fixed(sbo.LogSpaced(0.1, 0.3))
        )
    ),
    "parallel, diagonal": layer(
        lower=replace(SGD, operator=sbo.Diagonal.init), rollout=sbo.Parallel(inner_steps=2)
    ),
    "equilibrium of every step, eta normalised for the damped energy": layer(
        lower=sbo.EQUILIBRIUM, rollout=sbo.StepEquilibrium(num_steps=3, damping=0.5)
    ),
    "equilibrium that remembers": layer(
        lower=replace(SGD, problem=sbo.Transition(jax.nn.softplus)),
        rollout=sbo.StepEquilibrium(num_steps=4),
    ),
    "cell under nnx.RNN": lambda rngs: nnx.RNN(sbo.SBOCell(IN, D, rngs=rngs), rngs=rngs),
    **{name: peer(name) for name in ("rnn", "gru", "lstm", "irnn", "cornn", "momentum_lstm")},
}


def tagger(layer):
    """A model that reads every step out."""
    rngs = nnx.Rngs(params=0, dropout=1, carry=2)
    model = SequenceTagger(layer(rngs), D, OUT, rngs=rngs)
    model.eval()
    return model


def read(step, xs, valid=None):
    """What is read out of [batch, time, d], a step at a time."""
    carry, outputs = step.initial_carry, []
    for t in range(xs.shape[1]):
        carry, y = step(carry, xs[:, t], None if valid is None else valid[:, t])
        outputs.append(np.asarray(y))
    return np.stack(outputs, axis=1)


def draw(rng, batch=2):
    return rng.normal(size=(batch, T, IN)).astype(np.float32)


@pytest.mark.parametrize("name", LAYERS)
def test_every_step_equals_that_of_the_whole_sequence(name, rng):
    model, xs = tagger(LAYERS[name]), draw(rng)
    found = read(SingleStep(model, 2, IN), xs)
    np.testing.assert_allclose(found, call(model, xs), rtol=1e-5, atol=2e-6)


def test_a_kernel_for_gpus_gives_way_to_single_steps_on_any_device(rng):
    model, xs = tagger(layer(lower=SGD, rollout=sbo.Fused())), draw(rng)
    step = SingleStep(model, 2, IN)
    model.rnn.rollout = sbo.Unrolled()
    np.testing.assert_allclose(read(step, xs), call(model, xs), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", [TWO_LAYERS, "lstm", "cornn"])
def test_a_sequence_goes_on_after_lost_steps_as_if_it_had_never_had_them(name, rng):
    model, xs, valid = tagger(LAYERS[name]), draw(rng), np.ones((2, T), bool)
    valid[1, [0, 3, 4]] = False
    found = read(SingleStep(model, 2, IN), xs, valid)
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=2e-6)
    close(found[:1], call(model, xs[:1]))
    close(found[1:, valid[1]], call(model, xs[1:, valid[1]]))


def test_the_bound_is_computed_when_a_step_is_made_and_at_no_step(rng):
    found = []

    def bound(theta, alpha):
        found.append(isinstance(theta.a, jax.core.Tracer))
        return theta.curvature(alpha)

    lower = replace(sbo.STABLE, problem=sbo.Residual(bound=bound), operator=sbo.Dense.init)
    model = tagger(layer(lower=lower))
    found.clear()
    read(SingleStep(model, 2, IN), draw(rng))
    assert found == [False]


def test_a_step_keeps_the_parameters_of_the_moment_when_it_was_made(rng):
    model, xs = tagger(LAYERS["gru"]), draw(rng)
    step = SingleStep(model, 2, IN)
    before = read(step, xs)
    model.kernel[...] = jnp.zeros_like(model.kernel[...])
    np.testing.assert_array_equal(read(step, xs), before)


@pytest.mark.parametrize(
    ("name", "layer"),
    {
        "SBORNN with SequenceEquilibrium": layer(rollout=sbo.SequenceEquilibrium()),
        "SBORNN with Streamed": layer(rollout=sbo.Streamed()),
        "SBORNN": layer(reverse=True),
        "Bidirectional": lambda rngs: nnx.Bidirectional(layer()(rngs), layer()(rngs)),
        "ShaRNN": peer("sharnn"),
    }.items(),
)
def test_a_layer_that_needs_the_whole_sequence_is_refused_by_name(name, layer):
    with pytest.raises(ValueError, match=f"one step at a time, got {name}.* the whole sequence"):
        SingleStep(tagger(layer), 2, IN)


def test_a_model_without_a_read_out_is_refused():
    with pytest.raises(ValueError, match="has a read-out, got SBORNN"):
        SingleStep(layer()(nnx.Rngs(0)), 2, IN)
