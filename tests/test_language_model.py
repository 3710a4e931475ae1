"""Laws of the language model: its equation, its carry, training from batch to batch."""

import json
import math
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import sbo_jax as sbo
from sbo_jax import peers
from sbo_jax.devices.mesh import make_mesh
from sbo_jax.runs import train_command
from sbo_jax.runs.build import build_model
from sbo_jax.runs.config import TrainConfig, check
from sbo_jax.runs.folder.run_folder import RunFolder
from sbo_jax.runs.preparation import prepare
from sbo_jax.runs.run import train
from sbo_jax.runs.train_command import run_command_line
from sbo_jax.tasks._types import Recipe, Task
from sbo_jax.tasks.sources import streams
from sbo_jax.training.fit import Evaluator, fit
from sbo_jax.training.objectives import PERPLEXITY
from sbo_jax.training.step import bptt, init_state
from sbo_jax.training.window_losses import window_losses

V, D, T, B = 11, 6, 4, 2


def model(name="sbo", tied=True, seed=0):
    config = TrainConfig.of(model=name, hidden=D, tied=tied, task="ptb", seed=seed)
    return build_model(config, in_features=V, out_features=V, metric="perplexity", length=T)


def text(rng, size=4 * B * T + 1):
    return rng.integers(0, V, size).astype(np.int32)


def task(rng, size=4 * B * T + 1):
    source = streams.TokenSource(text(rng, size), T)
    return Task(
        name="text",
        train=source,
        validation=streams.TokenSource(text(rng, 23), T),
        test=streams.TokenSource(text(rng, 23), T),
        length=T,
        in_features=V,
        out_features=V,
        metric="perplexity",
        epoch_size=len(source),
        recipe=Recipe(1, B, 1e-2),
        facts={},
    )


def test_logits_are_those_of_the_equation(rng):
    network = model()
    tokens = rng.integers(0, V, (B, T))
    embedding = np.asarray(network.embedding.embedding[...])
    hs = network.rnn(jnp.asarray(embedding[tokens] * math.sqrt(D), jnp.float32))
    wanted = np.asarray(hs) @ embedding.T + np.asarray(network.bias[...])
    np.testing.assert_allclose(network(tokens), wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(network.predict(tokens), np.argmax(wanted, -1))


def test_untied_weights_are_a_matrix_of_their_own(rng):
    def count(network):
        return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))

    tied, untied = model(), model(tied=False)
    assert count(untied) == count(tied) + D * V
    tokens = rng.integers(0, V, (B, T))
    hs = untied.rnn(untied.embedding(jnp.asarray(tokens)) * math.sqrt(D))
    wanted = np.asarray(hs) @ np.asarray(untied.kernel[...]) + np.asarray(untied.bias[...])
    np.testing.assert_allclose(untied(tokens), wanted, rtol=1e-4, atol=1e-5)


def test_started_from_counts_it_predicts_frequencies(rng):
    network, source = model(), streams.TokenSource(text(rng, 400), T)
    network.start_from(source.counts(V))
    frequencies = (np.array([np.sum(source.tokens == v) for v in range(V)]) + 1) / (400 + V)
    embedding = network.embedding.embedding
    embedding[...] = jnp.zeros_like(embedding[...])
    predicted = jax.nn.softmax(network(source.tokens[None, :T]))
    np.testing.assert_allclose(predicted[0, -1], frequencies, rtol=1e-5)


@pytest.mark.parametrize(
    "name", ["sbo", "recall", "lstm", "gru", "fast_rnn", "cornn", "momentum_lstm"]
)
def test_two_halves_are_the_whole(rng, name):
    network = model(name)
    tokens = rng.integers(0, V, (B, 2 * T))
    carry, first = network(tokens[:, :T], return_carry=True)
    second = network(tokens[:, T:], initial_carry=carry)
    halves = jnp.concatenate([first, second], axis=1)
    np.testing.assert_allclose(halves, network(tokens), rtol=1e-4, atol=1e-5)
    alone = network(tokens[:, T:])
    assert float(jnp.max(jnp.abs(second - alone))) > 1e-6  # the past is told


def test_a_layer_without_a_carry_is_refused():
    with pytest.raises(ValueError, match=r"returns its carry.*got ShaRNN"):
        model("sharnn")
    lstm = partial(nnx.OptimizedLSTMCell, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="got ShaRNN"):
        sbo.SequenceLanguageModel(peers.ShaRNN(lstm(D, D), lstm(D, D)), D, V, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("shape", [(T,), (B, 0), (B, T, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises((ValueError, TypeError)):
        model()(jnp.zeros(shape, jnp.int32))


def test_steps_are_truncated_backpropagation_by_hand(rng):
    """Every window starts where the last one ended, and its gradient stops there."""
    network, method = model(), bptt(optax.sgd(0.3))
    graphdef, state = init_state(network, method, B)
    step = jax.jit(partial(method.step, PERPLEXITY, graphdef))
    source = streams.TokenSource(text(rng), T)
    batches = streams.StreamedBatches(source, B, slice(None))

    def mean_loss(params, carry, batch):
        lm = nnx.merge(graphdef, params, state.rest, copy=True)
        carry, logits = lm(batch.inputs, initial_carry=carry, return_carry=True)
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits), batch.targets[..., None], -1)
        return -jnp.mean(picked), carry

    by_hand = jax.jit(jax.value_and_grad(mean_loss, has_aux=True))
    params, carry, moved = state.params, network.initialize_carry(B), state
    for position in range(3):
        batch = batches.batch(position)
        (wanted, carry), gradient = by_hand(params, carry, batch)
        params = jax.tree.map(lambda p, g: p - 0.3 * g, params, gradient)
        moved, info = step(moved, batch)
        np.testing.assert_allclose(info.loss, wanted, rtol=1e-5)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), moved.params, params)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), moved.carry, carry)


def test_perplexity_is_that_of_the_whole_text(rng):
    network, source = model("lstm"), streams.TokenSource(text(rng, 30), T)
    graphdef, state = init_state(network, bptt(optax.identity()), 1)
    evaluate = Evaluator(PERPLEXITY, graphdef, 1, make_mesh(data=1))
    loss, perplexity = evaluate(state, source)
    logits = network(source.tokens[None, :-1])
    log_p = np.asarray(jax.nn.log_softmax(logits))[0, np.arange(29), source.tokens[1:]]
    np.testing.assert_allclose(loss, -log_p.mean(), rtol=1e-5)
    np.testing.assert_allclose(perplexity, np.exp(-log_p.mean()), rtol=1e-5)
    assert evaluate(state, source) == (loss, perplexity)  # each look begins at the beginning
    windows = window_losses(PERPLEXITY, graphdef, state, source, 1, make_mesh(data=1))
    wanted = [-log_p[first : first + T].sum() for first in range(0, 29, T)]
    np.testing.assert_allclose(windows.sums, wanted, rtol=1e-4)
    np.testing.assert_array_equal(windows.counts, [T] * 7 + [1])


def test_windows_of_padding_alone_are_left_out(rng):
    source = streams.TokenSource(text(rng, 30), T)  # eight windows, in batches of three
    graphdef, state = init_state(model("lstm"), bptt(optax.identity()), 3)
    windows = window_losses(PERPLEXITY, graphdef, state, source, 3, make_mesh(data=1))
    assert sorted(windows.counts) == [1] + [T] * 7
    loss, _ = Evaluator(PERPLEXITY, graphdef, 3, make_mesh(data=1))(state, source)
    np.testing.assert_allclose(windows.sums.sum() / windows.counts.sum(), loss, rtol=1e-5)


def test_an_epoch_begins_at_the_beginning(rng):
    """A text is the same after a pass, so that without learning its losses are."""
    data = task(rng)
    one, two = fit(model(), data, PERPLEXITY, bptt(optax.sgd(0.0)), epochs=2, batch_size=B)
    assert one.losses == two.losses
    assert one.validation == two.validation
    assert len(set(one.losses)) == len(one.losses) == 4


@pytest.mark.slow
def test_fit_learns_a_text_that_repeats_itself(rng):
    pattern = rng.permutation(V)[:5].astype(np.int32)
    tokens = np.tile(pattern, 60)
    data = task(rng)
    source = streams.full_windows(tokens, T)
    data = replace(data, train=source, validation=source, epoch_size=len(source))
    *_, last = fit(model("lstm"), data, PERPLEXITY, bptt(optax.adam(2e-2)), epochs=8, batch_size=B)
    assert last.validation < 1.5


def test_a_model_that_carries_needs_a_batch_size():
    with pytest.raises(ValueError, match="expected a batch size"):
        init_state(model(), bptt(optax.identity()))


def prepared(rng, **options):
    """A run on a small text in the place of the Penn Treebank."""
    seed = int(rng.integers(2**31))
    config = TrainConfig.of(
        task="ptb", hidden=D, batch_size=B, epochs=3, mesh="data=1", upper_rate=1e-2, **options
    )
    return prepare(config, lambda data: task(np.random.default_rng(seed), 12 * B * T + 1))


class StopAt:
    """Ctrl-C at a step."""

    def __init__(self, step):
        self.stop = step

    def step(self, step, loss):
        if step == self.stop:
            raise KeyboardInterrupt

    def epoch(self, report):
        pass


@pytest.mark.slow
def test_a_run_that_goes_on_equals_one_that_never_stopped(tmp_path, rng):
    run = prepared(rng)
    with RunFolder(tmp_path / "whole") as folder:
        whole = train(run, folder)
    with RunFolder(tmp_path / "parts") as folder:
        assert "stopped" in train(run, folder, StopAt(17))
    with RunFolder(tmp_path / "parts", resume=True) as folder:
        parts = train(run, folder)
    logs = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    assert whole["test"] == parts["test"]


STEADIER = {
    "average": 0.9,
    "warmup": 0.2,
    "weight_decay": 0.1,
    "gradient_noise": 0.01,
    "input_dropout": 0.3,
    "readout_dropout": 0.3,
    "variational_dropout": 0.3,
}


@pytest.mark.slow
def test_all_that_steadies_training_goes_on_and_is_reported_with_words(tmp_path, rng, monkeypatch):
    seed = int(rng.integers(2**31))
    options = {"task": "ptb", "hidden": D, "batch_size": B, "epochs": 3, "mesh": "data=1"}
    options |= STEADIER | {"upper_rate": 1e-2}
    typed = [x for n, v in options.items() for x in (f"--{n.replace('_', '-')}", f"{v}")]

    def load(data):
        return task(np.random.default_rng(seed), 12 * B * T + 1)

    def files(folder):
        return [(folder / name).read_text() for name in ("metrics.jsonl", "test_epochs.jsonl")]

    monkeypatch.setattr(train_command, "prepare", partial(prepare, load=load))
    typed.append("--report-test-epochs")
    assert run_command_line([*typed, "--out", f"{tmp_path / 'whole'}"]) == 0
    run = prepare(TrainConfig.of(**options, report_test_epochs=True), load)
    with RunFolder(tmp_path / "parts") as folder:
        assert "stopped" in train(run, folder, StopAt(int(rng.integers(2, 36))))
    assert run_command_line([*typed, "--out", f"{tmp_path / 'parts'}", "--resume"]) == 0
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    summary = json.loads((tmp_path / "parts/summary.json").read_text())
    report = (tmp_path / "parts/report.md").read_text()
    assert "| predicts | the next word |" in report
    assert f"| test | perplexity {summary['test']:.4g} (" in report
    kept = sbo.load(tmp_path / "parts")
    graphdef, state = init_state(kept.model, bptt(optax.identity()), B)
    found = Evaluator(PERPLEXITY, graphdef, B, make_mesh(data=1))(state, run.task.test)[1]
    np.testing.assert_allclose(found, summary["test"], rtol=1e-5)
    assert repr(kept).endswith("try      run.model.predict(words)")
    assert kept.model.predict(run.task.test.tokens[None, :T]).shape == (1, T)


def test_labels_of_words_are_not_smoothed():
    with pytest.raises(ValueError, match="--label-smoothing has no effect with --task ptb"):
        check(TrainConfig.of(task="ptb", label_smoothing=0.1))


def test_a_loaded_model_has_the_perplexity_of_the_summary(tmp_path, rng):
    run = prepared(rng)
    with RunFolder(tmp_path / "run") as folder:
        summary = train(run, folder)
    assert summary["metric"] == "perplexity"
    best = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])
    assert math.isclose(math.exp(best["validation_loss"]), best["validation"], rel_tol=1e-6)
    network = sbo.load(tmp_path / "run").model
    graphdef, state = init_state(network, bptt(optax.identity()), B)
    evaluate = Evaluator(PERPLEXITY, graphdef, B, make_mesh(data=1))
    np.testing.assert_allclose(evaluate(state, run.task.test)[1], summary["test"], rtol=1e-5)


def test_other_tasks_have_no_weights_to_tie():
    with pytest.raises(ValueError, match="--no-tied has no effect with --task digits"):
        check(TrainConfig.of(tied=False))


def test_relaxed_training_is_refused(rng):
    with pytest.raises(ValueError, match="classifier or regressor"):
        prepared(rng, training="penalty")
