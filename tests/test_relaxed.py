"""Models and batches that training with relaxed states would silently read in another way."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import sbo_jax as sbo
from sbo_jax import relaxations
from sbo_jax.tasks._types import Batch
from sbo_jax.training.objectives import ACCURACY
from sbo_jax.training.relaxed import by_relaxation, check_relaxable, network
from sbo_jax.training.step import init_state

T, IN, D, B, CLASSES = 5, 2, 4, 6, 3


def classifier(layer=sbo.SBORNN, options=None, **head):
    rngs = nnx.Rngs(0)
    if layer is nnx.RNN:
        rnn = nnx.RNN(sbo.SBOCell(IN, D, rngs=rngs), **options or {})
    else:
        rnn = sbo.SBORNN(IN, D, rngs=rngs, **options or {})
    return sbo.SequenceClassifier(rnn, D, CLASSES, rngs=rngs, **head)


@pytest.mark.parametrize("layer", [nnx.RNN, sbo.SBORNN])
def test_a_layer_that_reads_backwards_is_refused(layer):
    check_relaxable(classifier(layer))
    with pytest.raises(ValueError, match="reads forwards, got reverse=True"):
        check_relaxable(classifier(layer, {"reverse": True}))


def test_a_cell_of_several_steps_per_input_is_refused():
    cell = sbo.SBOCell(IN, D, inner_steps=5, rngs=nnx.Rngs(0))
    model = sbo.SequenceClassifier(nnx.RNN(cell), D, CLASSES, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="one step per input, got 5; try bptt"):
        check_relaxable(model)


@pytest.mark.parametrize("name", ["input_dropout", "readout_dropout", "variational_dropout"])
def test_a_model_with_dropout_is_refused(name):
    with pytest.raises(ValueError, match="without dropout"):
        check_relaxable(classifier(**{name: 0.1}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": np.full(B, T)}, "got sequences of unequal lengths"),
        ({"weights": np.ones((B, T))}, "got weights of every step"),
    ],
)
def test_a_batch_of_other_than_whole_sequences_is_refused(rng, change, message):
    method = by_relaxation(
        network,
        relaxations.penalty_method(optax.sgd(0.1), lambda step: 1.0, relaxations.gauss_newton()),
    )
    graphdef, state = init_state(classifier(), method)
    inputs = jnp.asarray(rng.normal(size=(B, T, IN)), jnp.float32)
    batch = Batch(inputs, rng.integers(CLASSES, size=B), np.ones(B, np.float32))
    method.step(ACCURACY, graphdef, state, batch)
    with pytest.raises(ValueError, match=message):
        method.step(ACCURACY, graphdef, state, batch._replace(**change))
