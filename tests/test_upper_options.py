"""What a run may add to training: averages, warm-up, decay, smooth labels, new samples, dropout."""

import json
from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import sbo_jax as sbo
from sbo_jax import tasks
from sbo_jax.nn.heads import SequenceClassifier, SequenceForecaster
from sbo_jax.runs.build import build_model
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.config.registry import OWN, PEERS
from sbo_jax.runs.config.sweep import SweepConfig
from sbo_jax.runs.folder.run_folder import RunFolder
from sbo_jax.runs.preparation import check_augmentation, prepare
from sbo_jax.runs.run import train
from sbo_jax.runs.sweep import prepare_sweep, sweep
from sbo_jax.tasks._types import Batch
from sbo_jax.tasks.loader import evaluation_batches, training_batches
from sbo_jax.training.augment import augmented, with_augmented_samples
from sbo_jax.training.averaging import averaged
from sbo_jax.training.fit import fit
from sbo_jax.training.objectives import ACCURACY, MSE, balanced
from sbo_jax.training.optimizer import default_optimizer
from sbo_jax.training.smoothing import smoothed, with_smooth_labels
from sbo_jax.training.step import bptt, eval_step, init_state, merge

B, T, IN, D, CLASSES = 6, 5, 2, 4, 3
DROPOUTS = ["input_dropout", "readout_dropout", "variational_dropout"]
SMALL = {"task": "adding", "length": 8, "hidden": 4, "batch_size": 640, "upper_rate": 1e-2}


def small_model(rng, name="sbo", **options):
    config = TrainConfig.of(model=name, hidden=D, seed=int(rng.integers(2**31)), **options)
    shape = {"in_features": IN, "out_features": CLASSES, "metric": "accuracy", "length": T}
    return build_model(config, **shape)


def small_batch(rng):
    inputs = rng.normal(size=(B, T, IN)).astype(np.float32)
    return Batch(inputs, rng.integers(CLASSES, size=B), np.ones(B, np.float32))


def trained(rng, method, model, num_steps):
    """The states after every step on batches that `rng` draws."""
    graphdef, state = init_state(model, method)
    step = jax.jit(partial(method.step, ACCURACY, graphdef))
    states = []
    for _ in range(num_steps):
        state, _ = step(state, small_batch(rng))
        states.append(state)
    return states


def arrays(params):
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(params)]


def test_an_average_is_that_of_the_parameters_after_the_warmup(rng):
    decay, after, num_steps = rng.uniform(0.3, 0.999), int(rng.integers(4)), 8
    method = averaged(bptt(optax.adam(0.1)), decay, after)
    states = trained(rng, method, small_model(rng), num_steps)
    for count, state in enumerate(states, 1):
        seen = states[after:count] or [state]
        weights = decay ** np.arange(len(seen))[::-1].astype(np.float64)
        expected = [
            np.average(leaves, axis=0, weights=weights)
            for leaves in zip(*(arrays(each.params) for each in seen), strict=True)
        ]
        kept = arrays(method.kept(state).params)
        chex.assert_trees_all_close(kept, expected, rtol=1e-5, atol=1e-6)
        if count <= after + 1:
            chex.assert_trees_all_equal(kept, arrays(state.params))


def test_an_average_is_the_unbiased_one_of_optax(rng):
    method = averaged(bptt(optax.adam(0.1)), 0.9)
    states = trained(rng, method, small_model(rng), 5)
    average = optax.ema(0.9)
    carried = average.init(states[0].params)
    for state in states:
        expected, carried = average.update(state.params, carried)
    chex.assert_trees_all_close(arrays(method.kept(states[-1]).params), arrays(expected), rtol=1e-4)


def test_an_average_of_half_precision_moves_by_less_than_it_can_show(rng):
    """A thousandth of a difference: in bfloat16 each step's share would round to nothing."""
    method = averaged(bptt(optax.sgd(0.0)), 0.999)
    state = init_state(small_model(rng), method)[1]
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), state.params)
    graphdef, _ = init_state(small_model(rng), method)
    state = state._replace(params=half, method_state=method.init(half))
    states = [state]
    step = jax.jit(partial(method.step, ACCURACY, graphdef))
    for count in range(300):
        state = step(state, small_batch(rng))[0]
        if count == 0:
            states[0] = state
            state = state._replace(params=jax.tree.map(lambda x: x + 1, state.params))
    start, end = (arrays(method.kept(s).params) for s in (states[0], state))
    assert {leaf.dtype for leaf in jax.tree.leaves(method.kept(state).params)} == {
        jnp.bfloat16.dtype
    }
    for before, after, target in zip(start, end, arrays(state.params), strict=True):
        share = (after - before) / (target - before)
        np.testing.assert_allclose(share, 299 / 300, atol=0.03)


def test_an_average_changes_no_step(rng):
    model, seed, plain = small_model(rng), int(rng.integers(2**31)), bptt(optax.adam(0.1))
    ways = (plain, averaged(plain, 0.9))
    ends = [trained(np.random.default_rng(seed), way, model, 4)[-1] for way in ways]
    chex.assert_trees_all_equal(*(arrays(end.params) for end in ends))


@pytest.mark.parametrize("decay", [0.0, 1.0, float("nan")])
def test_a_decay_that_averages_nothing_is_refused(decay):
    with pytest.raises(ValueError, match="0 < decay < 1, got"):
        averaged(bptt(optax.sgd(0.1)), decay)


def test_the_averaged_model_is_validated_tested_and_kept(tmp_path):
    prepared = prepare(TrainConfig.of(**SMALL, epochs=3, average=0.9, warmup=0.2))
    with RunFolder(tmp_path / "run") as folder:
        summary = train(prepared, folder)
    sizes = {"epochs": 3, "batch_size": 640, "mesh": prepared.mesh}
    epochs = list(fit(prepared.model, prepared.task, MSE, prepared.method, **sizes))
    best = epochs[summary["best_epoch"] - 1]
    run = sbo.load(tmp_path / "run")
    kept = prepared.method.kept(best.state)
    pairs = zip(arrays(kept.params), arrays(best.state.params), strict=True)
    assert all((average != raw).any() for average, raw in pairs)
    chex.assert_trees_all_equal(arrays(nnx.state(run.model, nnx.Param)), arrays(kept.params))
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[best.epoch - 1])["validation"] == best.validation
    task, found = prepared.task, (best.validation, summary["test"])
    errors = [mean_squared_error(run.model, source) for source in (task.validation, task.test)]
    np.testing.assert_allclose(found, errors, rtol=1e-4)


def mean_squared_error(model, source):
    (batch,) = evaluation_batches(source, len(source))
    return np.mean((np.asarray(model(batch.inputs)) - batch.targets) ** 2)


def test_a_refitted_average_is_kept_too(tmp_path):
    models, own = [], {"train_fraction": 0.3, "batch_size": 64, "hidden": 2, "model": "rnn"}
    for average in (0.0, 0.9):
        config = TrainConfig.of(**own, epochs=1, refit=True, average=average)
        with RunFolder(tmp_path / str(average)) as folder:
            train(prepare(config), folder)
        models.append(arrays(nnx.state(sbo.load(tmp_path / str(average)).model, nnx.Param)))
    assert all((x != y).any() for x, y in zip(*models, strict=True))


def test_a_cell_of_a_sweep_is_judged_by_its_average():
    options = SMALL | {"epochs": 1, "average": 0.9, "warmup": 0.2, "weight_decay": 0.1}
    prepared = prepare_sweep(SweepConfig.of(etas=(0.1,), mus=(0.5, 0.9), seeds=(0,), **options))
    (epoch,) = sweep(prepared)
    for index, cell in enumerate(prepared.config.cells()):
        one = prepare(prepared.config.run(*cell))
        (alone,) = fit(one.model, one.task, MSE, one.method, epochs=1, batch_size=640)
        np.testing.assert_allclose(epoch.validation[index], alone.validation, rtol=1e-4)


def test_the_rate_rises_along_a_line_and_falls_along_a_cosine(rng):
    warmup, num_steps, rate = int(rng.integers(1, 10)), 30, rng.uniform(1e-3, 1e-1)
    optimizer = default_optimizer(rate, num_steps, warmup=warmup)
    params = jnp.zeros(3)
    state, found = optimizer.init(params), []
    for _ in range(num_steps):  # Adam's step along a constant gradient is the rate
        updates, state = optimizer.update(jnp.full(3, 0.1), state, params)
        found.append(-updates[0])
    steps = np.arange(num_steps)
    falling = 0.5 * (1 + np.cos(np.pi * (steps - warmup) / (num_steps - warmup)))
    expected = rate * np.where(steps < warmup, steps / warmup, falling)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("warmup", [0.1, 0.5, 0.999])
def test_a_warmup_is_a_part_of_the_steps_and_never_all_of_them(rng, warmup):
    num_steps = int(rng.integers(1, 1000))
    found = TrainConfig.of(warmup=warmup).upper.warmup_steps(num_steps)
    assert abs(found - warmup * num_steps) <= 1
    default_optimizer(1e-2, num_steps, warmup=found)


@pytest.mark.parametrize(
    "options", [{"warmup": 10}, {"warmup": -1}, {"weight_decay": -0.1}, {"noise": -1.0}]
)
def test_an_optimizer_refuses_what_cannot_be(options):
    with pytest.raises(ValueError, match=r"expected .*; try"):
        default_optimizer(1e-2, 10, **options)


def test_noise_has_the_variance_of_its_step_and_is_a_function_of_the_seed(rng):
    variance, seed = rng.uniform(0.1, 2), int(rng.integers(2**31))
    params, gradient = jnp.zeros(40_000), jnp.full(40_000, 1e-6)

    def first_moments(seed):
        optimizer = default_optimizer(1e-2, 10, noise=variance, seed=seed)
        state, means = optimizer.init(params), [jnp.zeros_like(params)]
        for _ in range(3):
            _, state = optimizer.update(gradient, state, params)
            means.append(optax.tree.get(state, "mu"))
        return np.asarray(means)

    means = first_moments(seed)
    noise = (means[1:] - 0.9 * means[:-1]) / 0.1  # what Adam's first moment has of every step
    expected = variance / np.arange(1, 4) ** 0.55
    np.testing.assert_allclose(np.var(noise, axis=1), expected, rtol=6 * np.sqrt(2 / 40_000))
    assert np.all(np.abs(np.mean(noise, axis=1)) < 6 * np.sqrt(expected / 40_000))
    np.testing.assert_array_equal(first_moments(seed), means)
    assert np.mean(first_moments(seed + 1)[1:] != means[1:]) > 0.99


def test_noise_repeats_no_number_of_the_jitter_of_its_seed(rng):
    seed, zeros = int(rng.integers(2**31)), jnp.zeros((1, 50, 2))
    optimizer = default_optimizer(1e-2, 10, noise=1.0, seed=seed)
    _, state = optimizer.update(zeros, optimizer.init(zeros), zeros)
    noise = np.asarray(optax.tree.get(state, "mu")) / 0.1
    for number in range(5):
        key = jax.random.fold_in(jax.random.key(seed), number)
        batch = small_batch(rng)._replace(inputs=zeros)
        jitter = augmented(batch, {"jitter": 1.0}, key).inputs
        assert np.mean(np.isclose(noise, jitter, rtol=1e-4)) < 0.1


@pytest.mark.parametrize("name", [*OWN, *PEERS])
def test_weight_decay_shrinks_matrices_alone(rng, name):
    rate, decay = rng.uniform(1e-3, 1e-1, size=2)
    params = nnx.state(small_model(rng, name), nnx.Param)
    optimizer = default_optimizer(rate, 10**6, weight_decay=decay)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    moved = set()
    pairs = zip(jax.tree.leaves_with_path(params), jax.tree.leaves(updates), strict=True)
    for (path, leaf), update in pairs:
        if np.any(update != 0):
            np.testing.assert_allclose(update, -rate * decay * leaf, rtol=1e-4)
            moved |= {key.key for key in path if hasattr(key, "key")}
    assert "kernel" in moved
    assert not moved & {"bias", "gate_bias", "eta", "mu", "alpha", "beta", "zeta", "nu"}


def test_smooth_labels_are_those_of_the_formula(rng):
    logits, labels = rng.normal(size=(B, CLASSES)), rng.integers(CLASSES, size=B)
    amount, counts = rng.uniform(0, 1), rng.integers(1, 9, size=CLASSES)
    log_p = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
    own = log_p[np.arange(B), labels]
    expected = -(1 - amount) * own - amount * np.mean(log_p, axis=-1)
    given = jnp.asarray(logits, jnp.float32), labels
    found = smoothed(ACCURACY, amount).loss(*given)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    weights = counts.sum() / (CLASSES * counts)
    found = smoothed(balanced(counts), amount).loss(*given)
    np.testing.assert_allclose(found, weights[labels] * expected, rtol=1e-4)


@pytest.mark.parametrize("amount", [-0.1, 1.1, float("nan")])
def test_labels_cannot_be_smoothed_by_more_than_all_of_them(amount):
    with pytest.raises(ValueError, match="0 <= amount <= 1, got"):
        smoothed(ACCURACY, amount)


def test_labels_are_smooth_in_training_and_not_in_an_evaluation(rng):
    amount, model, batch = rng.uniform(0.1, 0.9), small_model(rng), small_batch(rng)
    method = with_smooth_labels(bptt(optax.sgd(0.0)), amount)
    graphdef, state = init_state(model, method)
    _, info = jax.jit(partial(method.step, ACCURACY, graphdef))(state, batch)
    totals, _ = jax.jit(partial(eval_step, ACCURACY, graphdef))(state, batch)
    logits = model(batch.inputs)
    plain = jnp.mean(ACCURACY.loss(logits, batch.targets))
    smooth = jnp.mean(smoothed(ACCURACY, amount).loss(logits, batch.targets))
    np.testing.assert_allclose((info.loss, totals.loss / B), (smooth, plain), rtol=1e-5)
    assert smooth != plain


def test_a_run_smooths_labels_that_it_trains_on(rng):
    amount, options = rng.uniform(0.1, 0.9), {"hidden": 2, "model": "rnn", "batch_size": 8}
    run = prepare(TrainConfig.of(label_smoothing=amount, **options))
    batch, (graphdef, state) = next(training_batches(run.task.train, 8, seed=0)), run.init()
    _, info = jax.jit(partial(run.method.step, run.objective, graphdef))(state, batch)
    expected = smoothed(ACCURACY, amount).loss(run.model(batch.inputs), batch.targets)
    np.testing.assert_allclose(info.loss, np.mean(expected), rtol=1e-5)
    assert run.objective == ACCURACY


MAGNITUDES = {"jitter": 0.3, "scale": 0.2, "shift": 2.0}


def test_samples_that_change_leave_the_average_what_is_kept(rng):
    model, own = small_model(rng), averaged(bptt(optax.adam(0.1)), 0.9)
    method = with_augmented_samples(own, (("jitter", 0.3),))
    end = trained(rng, method, model, 3)[-1]
    inner = own.kept(end._replace(method_state=end.method_state.inner))
    chex.assert_trees_all_equal(method.kept(end).params, inner.params)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_equal(method.kept(end).params, end.params)


def test_a_step_trains_on_samples_that_it_changes_anew(rng):
    model, plain, seed = small_model(rng), bptt(optax.adam(0.1)), int(rng.integers(2**31))
    method = with_augmented_samples(plain, tuple(MAGNITUDES.items()), seed)
    (graphdef, state), (_, expected) = (init_state(model, each) for each in (method, plain))
    step, plain_step = (partial(each.step, ACCURACY, graphdef) for each in (method, plain))
    batch, changed = small_batch(rng), []
    for number in range(3):
        key = jax.random.fold_in(jax.random.key(seed), number)
        changed.append(augmented(batch, MAGNITUDES, key))
        state, info = step(state, batch)
        expected, expected_info = plain_step(expected, changed[-1])
        chex.assert_trees_all_equal(state.params, expected.params)
        assert info.loss == expected_info.loss
    inputs = np.asarray([each.inputs for each in changed])
    assert (inputs[0] != inputs[1]).all()
    assert (inputs[0] != batch.inputs).all()


def test_an_augmentation_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"jitter, scale, shift, affine.*'jiter'"):
        with_augmented_samples(bptt(optax.sgd(0.1)), (("jiter", 0.1),))


@pytest.mark.parametrize("name", MAGNITUDES)
def test_magnitudes_are_deviations(rng, name):
    """Of noise, of a factor, and of a shift, which a ramp of slope 1 shows as a difference."""
    magnitude, key = rng.uniform(0.1, 0.5), jax.random.key(int(rng.integers(2**31)))
    ramp = np.tile(np.arange(1.0, 42.0)[:, None], (4000, 1, 1)).astype(np.float32)
    ones = np.ones(len(ramp), np.float32)
    found = augmented(Batch(ramp, ones, ones), {name: magnitude}, key).inputs[:, 20, 0] - 21
    drawn = found / 21 if name == "scale" else found
    np.testing.assert_allclose(np.std(drawn), magnitude, rtol=6 / np.sqrt(2 * len(ramp)))
    np.testing.assert_allclose(np.mean(drawn), 0, atol=6 * magnitude / np.sqrt(len(ramp)))


def test_no_augmentation_brings_padding_into_a_sequence(rng):
    batch, key = small_batch(rng), jax.random.key(int(rng.integers(2**31)))
    lengths = rng.integers(1, T + 1, size=B)
    inside = np.arange(T) < lengths[:, None]
    padded = [
        batch._replace(inputs=np.where(inside[..., None], batch.inputs, padding), lengths=lengths)
        for padding in (0.0, np.float32(1e6))
    ]
    found = [np.asarray(augmented(each, MAGNITUDES, key).inputs)[inside] for each in padded]
    np.testing.assert_array_equal(*found)
    assert np.abs(found[0]).max() < 100


@pytest.mark.parametrize(
    ("name", "kind"), [("shift", "per_step"), ("scale", "forecasts"), ("jitter", None)]
)
def test_targets_stay_those_of_their_inputs(name, kind):
    task, config = tasks.load("digits", train_fraction=0.05), TrainConfig.of(**{name: 0.1})
    check_augmentation(config, task)
    if kind is None:
        check_augmentation(config, replace(task, per_step=True, forecasts=True))
    else:
        with pytest.raises(ValueError, match=f"for --{name}, got .*; remove it"):
            check_augmentation(config, replace(task, **{kind: True}))


def test_runs_and_cells_of_a_sweep_augment_alike(rng):
    # smooth: at a kink of ReLU rounding would part them
    options = {"hidden": 4, "activation": "tanh", "batch_size": 16, "epochs": 1}
    options |= {"train_fraction": 0.05, **MAGNITUDES}
    seed, eta = int(rng.integers(1000)), float(rng.uniform(0.1, 1))
    grid = SweepConfig.of(etas=(eta,), mus=(0.5,), seeds=(seed,), mesh="sweep=1", **options)
    (report,) = sweep(prepare_sweep(grid))
    losses = []
    for magnitudes in (MAGNITUDES, dict.fromkeys(MAGNITUDES, 0.0)):
        run = prepare(grid.run(eta, 0.5, seed).changed(**magnitudes))
        parts = run.model, run.task, run.objective, run.method
        (epoch,) = fit(*parts, epochs=1, batch_size=16, seed=0, mesh=run.mesh)  # a sweep's order
        losses.append(epoch.train_loss)
    np.testing.assert_allclose(report.train_loss[0], losses[0], rtol=1e-4)
    assert losses[0] != losses[1]


class Nothing(nnx.Module):
    """A layer whose states are its inputs."""

    def __call__(self, inputs, *, seq_lengths=None, **options):
        return inputs


@pytest.mark.parametrize("name", DROPOUTS)
@pytest.mark.parametrize("head", [SequenceClassifier, SequenceForecaster])
def test_dropout_keeps_the_mean_and_its_rate_and_is_off_in_an_evaluation(rng, name, head):
    rate, rngs = rng.uniform(0.1, 0.7), nnx.Rngs(int(rng.integers(2**31)))
    model = head(Nothing(), 1, 1, **{name: rate}, rngs=rngs)
    model.kernel[...], model.bias[...] = jnp.ones((1, 1)), jnp.zeros(1)
    xs = jnp.ones((10_000, 1, 1))
    outputs = np.ravel(model(xs))
    np.testing.assert_allclose(np.unique(outputs), [0, 1 / (1 - rate)], rtol=1e-6)
    error = np.sqrt(rate * (1 - rate) / len(xs))
    assert abs(np.mean(outputs == 0) - rate) < 6 * error
    assert abs(np.mean(outputs) - 1) < 6 * error / (1 - rate)
    assert (outputs != np.ravel(model(xs))).any()  # the random stream moved on
    model.eval()
    np.testing.assert_array_equal(np.ravel(model(xs)), 1)


@pytest.mark.parametrize("name", DROPOUTS)
@pytest.mark.parametrize("layer", ["sbo", "lstm", "sharnn"])
def test_every_kind_of_layer_drops_in_a_step_and_not_in_an_evaluation(rng, name, layer):
    method, seed = bptt(optax.sgd(0.0)), int(rng.integers(2**31))
    batch = small_batch(rng)
    with_it, without = (
        init_state(small_model(np.random.default_rng(seed), layer, **options), method)
        for options in ({name: 0.5}, {})
    )
    chex.assert_trees_all_equal(arrays(with_it[1].params), arrays(without[1].params))
    graphdef, state = with_it
    step = jax.jit(partial(method.step, ACCURACY, graphdef))
    moved, info = step(state, batch)
    assert info.loss != step(moved, batch)[1].loss
    outputs = []
    for graphdef, state in (with_it, without):
        model = merge(graphdef, state)
        model.eval()
        outputs.append(model(batch.inputs))
    chex.assert_trees_all_equal(*outputs)


def test_every_mask_of_a_call_with_a_key_is_another_one(rng):
    width, key = 200, jax.random.key(int(rng.integers(2**31)))
    model = SequenceForecaster(
        Nothing(), width, width, input_dropout=0.5, readout_dropout=0.5, rngs=nnx.Rngs(0)
    )
    model.kernel[...], model.bias[...] = jnp.eye(width), jnp.zeros(width)
    kept = model(jnp.ones((1, 1, width)), rngs=key) != 0
    assert abs(np.mean(kept) - 0.25) < 0.2  # by one mask twice it would be 0.5
    np.testing.assert_array_equal(kept, model(jnp.ones((1, 1, width)), rngs=key) != 0)


class Seen(nnx.Module):
    """A layer whose states are its inputs, which it keeps."""

    def __init__(self):
        self.inputs = nnx.data(None)

    def __call__(self, inputs, *, return_carry=False, initial_carry=None, **options):
        self.inputs = inputs
        return (initial_carry, inputs) if return_carry else inputs

    def initialize_carry(self, shape, rngs=None):
        return jnp.zeros(shape)


def masks_of_head(rng, rate):
    """What two calls of a head in training let its layer see of ones, [calls, batch, time, d]."""
    rngs = nnx.Rngs(int(rng.integers(2**31)))
    head = SequenceClassifier(Seen(), 40, CLASSES, variational_dropout=rate, rngs=rngs)
    ones, lengths = jnp.ones((B, T, 40)), rng.integers(1, T + 1, size=B)
    return [(head(ones, seq_lengths=lengths), head.rnn.inputs)[1] for _ in range(2)]


def masks_of_language_model(rng, rate):
    """The same of a model of words, whose embeddings are ones times sqrt(d)."""
    rngs = nnx.Rngs(int(rng.integers(2**31)))
    model = sbo.SequenceLanguageModel(Seen(), 40, 7, variational_dropout=rate, rngs=rngs)
    model.embedding.embedding[...] = jnp.full((7, 40), 40**-0.5)
    tokens = rng.integers(7, size=(B, T))
    return [(model(tokens), model.rnn.inputs)[1] for _ in range(2)]


@pytest.mark.parametrize("masks_of", [masks_of_head, masks_of_language_model])
def test_a_variational_mask_is_that_of_all_steps_and_of_one_sequence_and_call(rng, masks_of):
    rate = rng.uniform(0.3, 0.7)
    masks = np.asarray(masks_of(rng, rate))
    assert masks.shape == (2, B, T, 40)
    np.testing.assert_array_equal(masks, np.broadcast_to(masks[:, :, :1], masks.shape))
    kept = masks[:, :, 0] != 0
    np.testing.assert_allclose(masks[:, :, 0][kept], 1 / (1 - rate), rtol=1e-5)
    assert abs(np.mean(kept) - (1 - rate)) < 6 * np.sqrt(rate * (1 - rate) / kept.size)
    drawn = kept.reshape(-1, 40)
    assert len(np.unique(drawn, axis=0)) == len(drawn)  # of 2^40


def test_dropout_of_steps_is_another_at_every_step(rng):
    rngs = nnx.Rngs(int(rng.integers(2**31)))
    head = SequenceClassifier(Seen(), 40, CLASSES, input_dropout=0.5, rngs=rngs)
    head(jnp.ones((B, T, 40)))
    assert len(np.unique(np.asarray(head.rnn.inputs).reshape(-1, 40), axis=0)) == B * T


@pytest.mark.parametrize("name", DROPOUTS)
def test_a_language_model_drops_in_training_alone(rng, name):
    tokens = rng.integers(7, size=(B, T))
    models = []
    for options in ({name: 0.5}, {}):
        rngs = nnx.Rngs(0)
        layer = sbo.SBORNN(D, D, rngs=rngs)
        models.append(sbo.SequenceLanguageModel(layer, D, 7, rngs=rngs, **options))
    dropping, plain = models
    assert (dropping(tokens) != dropping(tokens)).any()
    dropping.eval()
    chex.assert_trees_all_equal(dropping(tokens), plain(tokens))


def test_an_estimator_takes_what_a_run_takes():
    from sbo_jax.estimators import SBOClassifier, SBORegressor

    added = {"average", "warmup", "weight_decay", "gradient_noise"}
    added |= set(DROPOUTS) | set(MAGNITUDES)
    assert added | {"label_smoothing"} <= SBOClassifier().get_params().keys()
    assert added <= SBORegressor().get_params().keys()
    assert "label_smoothing" not in SBORegressor().get_params()
