"""Sequences of unequal lengths: what is padded counts for nothing, and little is padded."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import sbo_jax as sbo
from sbo_jax import nn
from sbo_jax.tasks import evaluation_batches, training_batches
from sbo_jax.tasks._types import Recipe, Request
from sbo_jax.tasks.loader import Share
from sbo_jax.tasks.sources import buckets
from sbo_jax.tasks.sources.ragged import Ragged
from sbo_jax.tasks.sources.sequences import NO_CLASS, Labelled, sequence_task
from sbo_jax.training import bptt, init_state
from sbo_jax.training.objectives import ACCURACY, MSE

IN, D, CLASSES = 3, 16, 4  # 16 units, the fewest that a kernel computes on


def draw_ragged(rng, lengths, features=IN):
    return Ragged.of([rng.normal(size=(n, features)) for n in lengths])


def draw_task(rng, lengths, *, metric="accuracy", per_step=False):
    """A task of random sequences, the same ones in every split."""
    inputs = draw_ragged(rng, lengths)
    shape = (sum(lengths) if per_step else len(lengths),)
    classes, numbers = rng.integers(0, CLASSES, shape), rng.normal(size=(*shape, 2))
    values = classes if metric == "accuracy" else numbers
    targets = Ragged.stored(values, lengths) if per_step else values
    labelled = Labelled(inputs, targets)
    return sequence_task(
        "drawn",
        dict.fromkeys(("train", "validation", "test"), labelled),
        Request(),
        out_features=CLASSES if metric == "accuracy" else 2,
        recipe_of=lambda count: (Recipe(1, 4, 1e-3), count),
        metric=metric,
        facts={},
    )


def test_sequences_are_selected_padded_and_looked_at_in_blocks(rng, monkeypatch):
    monkeypatch.setattr("sbo_jax.tasks.sources.ragged._BLOCK", 7)
    arrays = [rng.normal(size=(n, 2)) for n in rng.integers(1, 12, 9)]
    rows = rng.integers(0, 9, 6)
    chosen = Ragged.of(arrays).take(rows)
    expected = [arrays[row] for row in rows]
    for ours, theirs in zip(chosen, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    blocks = list(chosen.blocks())
    np.testing.assert_array_equal(np.concatenate(blocks), np.concatenate(expected))
    assert max(map(len, blocks)) < 7 + 12
    for ours, theirs in zip(chosen.padded(13), expected, strict=True):
        np.testing.assert_array_equal(ours, np.pad(theirs, ((0, 13 - len(theirs)), (0, 0))))


def waste(lengths, ends):
    own = np.asarray(ends)[np.searchsorted(ends, lengths)]
    return 1 - lengths.sum() / own.sum()


def test_no_other_buckets_pad_less(rng):
    lengths = rng.integers(1, 30, 25)
    for most in range(1, 5):
        ours = buckets.choose(lengths, most)
        others = [
            (*inner, lengths.max())
            for inner in itertools.combinations(np.unique(lengths)[:-1], len(ours) - 1)
        ]
        assert waste(lengths, ours) == min(waste(lengths, other) for other in others)
        assert len(ours) == most or waste(lengths, ours) <= 0.13


def test_little_of_a_pass_over_log_uniform_lengths_is_padding(rng):
    padded = [part_of_a_pass_that_is_padding(rng) for _ in range(3)]
    assert np.mean(padded) <= 0.15  # a single pass is padded by 13 to 15 %


def part_of_a_pass_that_is_padding(rng):
    lengths = np.exp(rng.uniform(np.log(20), np.log(2001), 3000)).astype(int)
    assert waste(lengths, buckets.choose(lengths, most=8)) <= 0.20
    source = draw_task(rng, lengths).train
    batches = list(itertools.islice(training_batches(source, 32, seed=0), 3000 // 32))
    assert len({batch.inputs.shape for batch in batches}) <= 12
    steps = sum(batch.lengths.sum() for batch in batches)
    return 1 - steps / sum(batch.inputs.size / IN for batch in batches)


def test_a_pass_has_every_sequence_once_and_the_next_mixes_them_anew(rng):
    lengths = rng.integers(1, 60, 50)
    source = draw_task(rng, lengths).train
    batches = training_batches(source, 8, seed=int(rng.integers(100)))
    passes = [list(itertools.islice(batches, 6)) for _ in range(3)]
    seen = [sorted(int(n) for batch in each for n in batch.lengths) for each in passes]
    counts = np.bincount(lengths)
    for each in seen:
        assert len(each) == 48
        assert (np.bincount(each, minlength=len(counts)) <= counts).all()
    orders = [[batch.inputs.shape for batch in each] for each in passes]
    assert orders[0] != orders[1] or orders[1] != orders[2]


def test_a_stream_that_starts_later_goes_on_and_shares_make_up_the_batch(rng):
    source = draw_task(rng, rng.integers(1, 60, 50)).train
    whole = list(itertools.islice(training_batches(source, 8, seed=3), 20))
    later = list(itertools.islice(training_batches(source, 8, seed=3, start=9), 11))
    jax.tree.map(np.testing.assert_array_equal, whole[9:], later)
    shares = [
        list(itertools.islice(training_batches(source, 8, seed=3, share=Share(n, 2)), 20))
        for n in range(2)
    ]
    for batch, *halves in zip(whole, *shares, strict=True):
        both = jax.tree.map(lambda *rows: np.concatenate(rows), *halves)
        jax.tree.map(np.testing.assert_array_equal, batch, both)


def test_an_evaluation_has_every_sequence_once(rng):
    lengths = rng.integers(1, 40, 21)
    source = draw_task(rng, lengths, per_step=True).test
    batches = list(evaluation_batches(source, 8))
    assert sum(batch.weights.sum() for batch in batches) == lengths.sum()
    seen = np.concatenate([batch.lengths[batch.weights.any(axis=1)] for batch in batches])
    assert sorted(seen) == sorted(lengths)


def test_statistics_are_those_of_the_steps_there_are(rng):
    lengths = rng.integers(1, 30, 20)
    task = draw_task(rng, lengths)
    steps = np.concatenate(list(task.train.inputs))
    np.testing.assert_allclose(task.facts["mean"], steps.mean(0), rtol=1e-9)
    np.testing.assert_allclose(task.facts["std"], steps.std(0), rtol=1e-9)


def test_sequences_of_one_length_need_no_lengths(rng):
    task = draw_task(rng, np.full(9, 6))
    batch = next(training_batches(task.train, 4, seed=0))
    assert (task.is_equal, batch.lengths, batch.inputs.shape) == (True, None, (4, 6, IN))


# The law: a padded batch is its sequences one by one.

SMOOTH = replace(sbo.STABLE, problem=sbo.Residual(jnp.tanh), eta=sbo.Fixed(0.3))
EXACT = {"num_steps": 400, "damping": 1.0}
LAYERS = {
    "unrolled": {"lower": SMOOTH},
    "in chunks": {"lower": SMOOTH, "rollout": sbo.Unrolled(remat_chunk=4, inner_steps=2)},
    "two layers": {"lower": SMOOTH, "num_layers": 2},
    "backwards": {"lower": SMOOTH, "reverse": True},
    "parallel": {
        "lower": replace(SMOOTH, operator=sbo.Diagonal.init),
        "rollout": sbo.Parallel(),
    },
    "fused": {
        "lower": replace(SMOOTH, operator=sbo.Dense.init),
        "rollout": sbo.Fused(interpret=True),
    },
    "sequence": {"lower": sbo.EQUILIBRIUM, "rollout": sbo.SequenceEquilibrium(**EXACT)},
    "step": {"lower": sbo.EQUILIBRIUM, "rollout": sbo.StepEquilibrium(**EXACT)},
    "streamed": {"lower": sbo.EQUILIBRIUM, "rollout": sbo.Streamed(damping=1.0)},
}


def sbo_layer(**options):
    return sbo.SBORNN(IN, D, rngs=nnx.Rngs(0), **options)


def gru(*, reverse=False):
    return nnx.RNN(nnx.GRUCell(IN, D, rngs=nnx.Rngs(0)), reverse=reverse)


RNNS = {name: (lambda options=options: sbo_layer(**options)) for name, options in LAYERS.items()}
RNNS |= {"GRU": gru, "GRU backwards": lambda: gru(reverse=True)}
HEADS = {
    ("accuracy", False): sbo.SequenceClassifier,
    ("mse", False): sbo.SequenceRegressor,
    ("accuracy", True): nn.SequenceTagger,
    ("mse", True): nn.SequenceForecaster,
}


def loss_and_gradient(objective, graphdef, state, batch):
    """Through a step of gradient descent at rate 1, compiled."""
    method = bptt(optax.sgd(1.0))
    step = jax.jit(lambda state, batch: method.step(objective, graphdef, state, batch))
    after, info = step(state, batch)
    return info.loss, jax.tree.map(jnp.subtract, state.params, after.params)


TWO = [("accuracy", False), ("mse", True)]
LAWS = [(name, *kind) for name in RNNS for kind in (HEADS if name == "unrolled" else TWO)]


@pytest.mark.parametrize(("name", "metric", "per_step"), LAWS)
def test_a_padded_batch_is_its_sequences_one_by_one(name, metric, per_step, rng):
    lengths = rng.choice(np.arange(1, 14), 3, replace=False)
    task = draw_task(rng, lengths, metric=metric, per_step=per_step)
    head = HEADS[metric, per_step](RNNS[name](), D, task.out_features, rngs=nnx.Rngs(1))
    graphdef, state = init_state(head, bptt(optax.sgd(1.0)))
    objective = ACCURACY if metric == "accuracy" else MSE
    batch = task.train.batch(np.arange(3), 16)
    value, gradient = loss_and_gradient(objective, graphdef, state, batch)
    alone = [task.train.batch(np.array([i]), int(n)) for i, n in enumerate(batch.lengths)]
    parts = [
        loss_and_gradient(objective, graphdef, state, each._replace(lengths=None)) for each in alone
    ]
    shares = [each.weights.sum() / batch.weights.sum() for each in alone]
    mean = jax.tree.map(lambda *xs: sum(w * x for w, x in zip(shares, xs, strict=True)), *parts)
    np.testing.assert_allclose(value, mean[0], rtol=1e-6, atol=1e-6)
    jax.tree.map(
        lambda ours, one: np.testing.assert_allclose(ours, one, rtol=1e-5, atol=1e-5),
        gradient,
        mean[1],
    )


@pytest.mark.parametrize("metric", ["accuracy", "mse"])
def test_a_step_without_a_target_counts_nothing(metric, rng):
    lengths = [5, 3]
    inputs = draw_ragged(rng, lengths)
    values = rng.integers(0, CLASSES, 8) if metric == "accuracy" else rng.normal(size=(8, 2))
    values[[2, 6]] = NO_CLASS if metric == "accuracy" else np.nan
    source = draw_task(rng, lengths, metric=metric, per_step=True).train
    dtype = np.int32 if metric == "accuracy" else np.float32
    source = replace(source, inputs=inputs, targets=Ragged.stored(values.astype(dtype), lengths))
    batch = source.batch(np.arange(2), 6)
    np.testing.assert_array_equal(batch.weights, [[1, 1, 0, 1, 1, 0], [1, 0, 1, 0, 0, 0]])
    assert np.isfinite(batch.targets).all()
