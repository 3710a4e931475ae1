"""The upper level: steps, the loop, the run folder, and the train script as a user meets it."""

import contextlib
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import sbo_jax as sbo
from sbo_jax import relaxations, tasks
from sbo_jax.nn.lower_report import LowerReport
from sbo_jax.runs import preparation
from sbo_jax.runs.build import lower_level
from sbo_jax.runs.config import TrainConfig, check
from sbo_jax.runs.folder.run_folder import RunFolder
from sbo_jax.runs.preparation import prepare
from sbo_jax.runs.run import train
from sbo_jax.runs.train_command import run_command_line
from sbo_jax.runs.watching.reporters import EventFile
from sbo_jax.tasks._types import Batch
from sbo_jax.training import relaxed
from sbo_jax.training.fit import Epoch, fit
from sbo_jax.training.losses import Diverged
from sbo_jax.training.objectives import ACCURACY, MSE
from sbo_jax.training.optimizer import default_optimizer
from sbo_jax.training.step import bptt, eval_step, init_state

ROOT = Path(__file__).parents[1]
SMALL = TrainConfig.of(task="adding", length=8, hidden=8, batch_size=640, epochs=2, upper_rate=1e-2)


def small_model(rng, lower=sbo.STABLE, dropout=0.0):
    rngs = nnx.Rngs(int(rng.integers(2**31)))
    layers = 2 if dropout else 1
    rnn = sbo.SBORNN(2, 8, num_layers=layers, dropout=dropout, lower=lower, rngs=rngs)
    return sbo.SequenceRegressor(rnn, 8, 1, rngs=rngs)


def small_batch(rng, size=6, padding=0):
    inputs = rng.normal(size=(size, 5, 2)).astype(np.float32)
    targets = rng.normal(size=(size, 1)).astype(np.float32)
    weights = np.ones(size, np.float32)
    weights[size - padding :] = 0
    return Batch(inputs, targets, weights)


def compiled_step(method, graphdef):
    return jax.jit(partial(method.step, MSE, graphdef))


def compiled_eval(graphdef):
    return jax.jit(lambda state, batch: eval_step(MSE, graphdef, state, batch)[0])


def test_a_train_step_is_one_optax_step_on_the_mean_loss(rng):
    model, batch, method = small_model(rng), small_batch(rng), bptt(optax.sgd(0.1))
    graphdef, state = init_state(model, method)
    new, info = compiled_step(method, graphdef)(state, batch)

    def loss(model):
        return jnp.mean((model(batch.inputs) - batch.targets) ** 2)

    expected_value, gradient = nnx.jit(nnx.value_and_grad(loss))(model)
    np.testing.assert_allclose(info.loss, expected_value, rtol=1e-5)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, gradient)
    chex.assert_trees_all_close(
        nnx.to_pure_dict(new.params), nnx.to_pure_dict(expected), rtol=1e-5, atol=1e-6
    )


def test_fixed_hyperparameters_survive_training_bit_for_bit(rng):
    lower = replace(sbo.STABLE, eta=sbo.Fixed(0.05), mu=sbo.Fixed(0.5))
    method = bptt(optax.adam(0.1))
    graphdef, state = init_state(small_model(rng, lower), method)
    before = state.rest
    step = compiled_step(method, graphdef)
    for _ in range(3):
        state, _ = step(state, small_batch(rng))
    chex.assert_trees_all_equal(nnx.to_pure_dict(state.rest), nnx.to_pure_dict(before))


def test_padding_counts_for_nothing_in_an_evaluation(rng):
    graphdef, state = init_state(small_model(rng), bptt(optax.identity()))
    padded = small_batch(rng, padding=2)
    evaluate = compiled_eval(graphdef)
    totals = evaluate(state, padded)
    alone = evaluate(state, Batch(*(array[:4] for array in padded[:3])))
    chex.assert_trees_all_close(totals, alone, rtol=1e-5)
    assert totals.num_samples == 4


def test_dropout_is_on_in_a_step_and_off_in_an_evaluation(rng):
    method = bptt(optax.sgd(0.0))
    graphdef, state = init_state(small_model(rng, dropout=0.5), method)
    batch = small_batch(rng)
    step, evaluate = compiled_step(method, graphdef), compiled_eval(graphdef)
    first = evaluate(state, batch)
    moved, info = step(state, batch)
    _, again = step(moved, batch)
    assert info.loss != again.loss  # the random stream moved on
    chex.assert_trees_all_equal(evaluate(moved, batch), first)


def test_objectives_on_cases_counted_by_hand():
    logits, labels = jnp.asarray([[0.0, 0.0], [3.0, 1.0]]), jnp.asarray([1, 1])
    expected = [np.log(2), 2 + np.log1p(np.exp(-2))]
    np.testing.assert_allclose(ACCURACY.loss(logits, labels), expected, rtol=1e-6)
    np.testing.assert_array_equal(ACCURACY.metric(logits, labels), [0, 0])
    assert MSE.loss(jnp.asarray([[1.0, 3.0]]), jnp.asarray([[1.0, 1.0]])) == 2


@pytest.mark.slow
def test_fit_learns_leaves_its_model_alone_and_compiles_a_step_once(rng):
    task = tasks.load("adding", length=8)
    model = small_model(rng)
    before = nnx.to_pure_dict(nnx.state(model))
    before = jax.tree.map(np.array, before)
    method = bptt(default_optimizer(1e-2, 5 * 100))
    epochs = list(fit(model, task, MSE, method, epochs=5, batch_size=64))
    assert epochs[-1].validation < 1 / 6  # the variance of the targets: a constant reaches it
    assert [epoch.step for epoch in epochs] == [100, 200, 300, 400, 500]
    best = [epoch.validation for epoch in epochs if epoch.is_best]
    assert best == sorted(best, reverse=True)
    assert best[-1] == min(epoch.validation for epoch in epochs)
    chex.assert_trees_all_equal(nnx.to_pure_dict(nnx.state(model)), before)


def test_fit_takes_any_optax_transformation_and_any_flax_cell(rng):
    rngs = nnx.Rngs(int(rng.integers(2**31)))
    gru = nnx.RNN(nnx.GRUCell(2, 8, rngs=rngs), rngs=rngs)
    model = sbo.SequenceRegressor(gru, 8, 1, rngs=rngs)
    task = tasks.load("adding", length=8)
    (epoch,) = fit(model, task, MSE, bptt(optax.lion(1e-3)), epochs=1, batch_size=640)
    assert np.isfinite(epoch.validation)
    assert epoch.eta_max is None


def test_a_loss_that_is_no_number_stops_with_step_eta_and_bound(rng):
    lower = replace(sbo.PAPER, eta=sbo.Fixed(1e6))
    task = tasks.load("adding", length=8)
    pattern = r"became (nan|inf) at step 1; largest lower-level eta 1e\+06, bound 1/L 0\.\d+"
    with pytest.raises(Diverged, match=pattern):
        list(
            fit(small_model(rng, lower), task, MSE, bptt(optax.sgd(1.0)), epochs=1, batch_size=640)
        )


def test_the_report_names_the_largest_eta_and_the_bound(rng):
    report = LowerReport.of(small_model(rng))
    assert 0.9 / 0.95 < report.eta_max / (0.95 * report.bound) <= 1.001
    smooth = replace(sbo.PAPER, problem=sbo.Residual(jnp.tanh))
    assert LowerReport.of(small_model(rng, smooth)).bound is None


def test_the_report_counts_the_damping_that_the_layer_adds(rng):
    damping = float(rng.uniform(1, 5))
    plain, damped = (
        LowerReport.of(sbo.SBORNN(2, 4, lower=lower, rollout=rollout, rngs=nnx.Rngs(0)))
        for lower in [replace(sbo.EQUILIBRIUM, problem=sbo.Residual(), eta=sbo.Normalised(0.5))]
        for rollout in (sbo.StepEquilibrium(damping=0.0), sbo.StepEquilibrium(damping=damping))
    )
    np.testing.assert_allclose(1 / damped.bound, 1 / plain.bound + damping, rtol=1e-5)
    for report in (plain, damped):
        np.testing.assert_allclose(report.eta_max, 0.5 * report.bound, rtol=1e-5)


def test_a_batch_of_padding_alone_moves_nothing(rng):
    method = bptt(optax.sgd(0.1))
    graphdef, state = init_state(small_model(rng), method)
    after, info = method.step(MSE, graphdef, state, small_batch(rng, padding=6))
    assert info.loss == 0
    chex.assert_trees_all_equal(after.params, state.params)


class Watcher:
    def __init__(self):
        self.steps, self.epochs = [], []

    def step(self, step, loss):
        self.steps.append(step)

    def epoch(self, report):
        self.epochs.append(report.epoch)


def run(config, path, *reporters):
    with RunFolder(path) as folder:
        return train(prepare(config), folder, *reporters)


def test_a_run_folder_tells_the_whole_story(tmp_path):
    watcher = Watcher()
    summary = run(SMALL, tmp_path / "run", watcher)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "timing.jsonl",
        "summary.json",
        "checkpoints",
        "model",
    }
    assert (
        list(summary)
        == (
            "task model metric parameters epochs ended best_epoch best_validation refit_steps test "
            "scores intervals resampled chosen seconds eta_max versions commit device seed"
        ).split()
    )
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2] == watcher.epochs
    assert watcher.steps == list(range(1, 21))
    assert summary["best_validation"] == min(line["validation"] for line in lines)
    assert json.loads((tmp_path / "run/summary.json").read_text()) == summary


def test_a_loaded_model_scores_what_the_summary_says(tmp_path):
    summary = run(SMALL.changed(layers=2, dropout=0.2), tmp_path / "run")
    loaded = sbo.load(tmp_path / "run")
    test = tasks.load("adding", length=8).test
    inputs, targets = test.fetch(np.arange(len(test)))
    mse = np.mean((loaded.predict(inputs) - targets[:, 0]) ** 2)
    np.testing.assert_allclose(mse, summary["test"], rtol=1e-5)


@pytest.mark.slow
def test_a_run_that_learns_too_fast_is_told_to_learn_slower(tmp_path):
    config = SMALL.changed(learn_hyper="eta,jitter", hyper_rate=1e10, epochs=1)
    summary = run(config, tmp_path / "run")
    assert "or a smaller --hyper-rate, which moves eta, jitter" in summary["stopped"]
    summary = run(SMALL.changed(eta=1e6, preset="paper", epochs=1), tmp_path / "other")
    assert "hyper-rate" not in summary["stopped"]


def test_a_decay_that_makes_matrices_grow_is_named_instead_of_eta(tmp_path):
    summary = run(SMALL.changed(weight_decay=1e6, upper_rate=0.01, epochs=2), tmp_path / "run")
    cause = "--weight-decay 1e+06 times the largest step size 0.01 is 1e+04"
    assert cause in summary["stopped"]
    assert summary["stopped"].endswith("; try a smaller --weight-decay")


@pytest.mark.parametrize("name", ["sbo", "lstm"])
def test_a_small_decay_is_not_blamed_and_no_eta_where_there_is_none(tmp_path, name):
    config = SMALL.changed(model=name, upper_rate=1e37, clip=1e37, weight_decay=1e-37, epochs=1)
    said = run(config, tmp_path / "run")["stopped"]
    assert "decay" not in said
    assert ("eta" in said) == (name == "sbo")
    assert said.endswith("a smaller upper-level rate")


@pytest.mark.slow
def test_metrics_depend_on_configuration_and_seed_alone(tmp_path):
    for name in ("a", "b", "other"):
        run(SMALL.changed(seed=int(name == "other")), tmp_path / name)
    a, b, other = ((tmp_path / name / "metrics.jsonl").read_text() for name in ("a", "b", "other"))
    assert a == b != other


VANILLA = SMALL.changed(
    energy="transition", activation="relu", solver="sgd", eta=1.0, operator="dense"
)
RELAXED = {
    "penalty": SMALL.changed(training="penalty"),
    "lagrangian": SMALL.changed(training="lagrangian", solver="sgd"),
    "bcd": VANILLA.changed(training="bcd", upper_rate=None),
}


@pytest.mark.parametrize("training", RELAXED)
def test_a_relaxed_run_logs_its_residual_and_goes_on_bit_by_bit(tmp_path, training):
    class Impatient(Watcher):
        def step(self, step, loss):
            if step == 15:
                raise KeyboardInterrupt

    config = RELAXED[training]
    run(config, tmp_path / "whole")
    run(config, tmp_path / "parts", Impatient())
    with RunFolder(tmp_path / "parts", resume=True) as folder:
        train(prepare(config), folder)
    whole, parts = ((tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts"))
    assert whole == parts
    line = json.loads(whole.splitlines()[-1])
    assert 0 < line["residual_mean"] <= line["residual_max"]
    assert line["relaxed_metric"] < line["true_metric"] == pytest.approx(line["train_loss"])


def test_the_network_of_a_model_reads_as_the_model_does(rng):
    for lower in (sbo.STABLE, replace(sbo.STABLE, solver=sbo.sgd)):
        model, batch = small_model(rng, lower), small_batch(rng)
        graphdef, state = init_state(model, bptt(optax.identity()))
        network = relaxed.network(MSE, graphdef, state.params, state.rest)
        xs = jnp.moveaxis(jnp.asarray(batch.inputs), 1, 0)

        def outputs(params, network=network, xs=xs):
            return network.readout(params, relaxations.read(network, params, xs)[-1])

        expected = nnx.jit(lambda model, inputs: model(inputs))(model, batch.inputs)
        np.testing.assert_allclose(jax.jit(outputs)(state.params), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_ctrl_c_leaves_a_folder_that_loads(tmp_path):
    class Impatient(Watcher):
        def step(self, step, loss):
            if step == 12:
                raise KeyboardInterrupt

    summary = run(SMALL.changed(epochs=9), tmp_path / "run", Impatient())
    assert summary["stopped"] == "interrupted"
    assert summary["test"] is None
    assert summary["best_epoch"] == 1
    assert sbo.load(tmp_path / "run").predict(np.zeros((1, 8, 2), np.float32)).shape == (1,)


@pytest.mark.slow
def test_ctrl_c_in_the_first_epoch_keeps_what_there_is(tmp_path):
    class Hasty(Watcher):
        def step(self, step, loss):
            raise KeyboardInterrupt

    summary = run(SMALL, tmp_path / "run", Hasty())
    assert summary["best_validation"] is None
    sbo.load(tmp_path / "run")


def test_a_diverged_run_says_so_in_its_summary(tmp_path):
    config = SMALL.changed(preset="paper", eta=1e6)
    summary = run(config, tmp_path / "run")
    assert "eta 1e+06" in summary["stopped"]


@pytest.mark.parametrize("content", [None, "{broken", '{"config": {}, "model": {}}'])
def test_a_folder_that_is_no_run_is_refused(tmp_path, content):
    if content:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match="expected"):
        sbo.load(tmp_path)


def test_a_configuration_becomes_the_lower_level_it_describes():
    level = lower_level(
        TrainConfig.of(preset="paper", solver="nesterov", operator="scalar", eta=0.1)
    )
    assert level.solver is sbo.nesterov
    assert level.eta == sbo.Fixed(0.1)
    assert level.mu == sbo.Learned(0.5)
    assert level.operator == sbo.Scalar.init
    kinds = TrainConfig.of(eta=0.1, eta_kind="normalised", mu=0.3, mu_kind="learned")
    assert lower_level(kinds).eta == sbo.Normalised(0.1)
    assert lower_level(kinds).mu == sbo.Bounded(0.3)
    constant = kinds.changed(eta_kind="fixed_normalised")
    assert lower_level(constant).eta == sbo.Normalised(0.1, trained=False)
    assert lower_level(constant.changed(learn_hyper="eta")).eta == sbo.Normalised(0.1)


def script(*arguments, **kwargs):
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts/train.py"), *map(str, arguments)],
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | kwargs,
    )


def test_the_script_trains_and_prints_folder_and_summary_last(tmp_path):
    out = tmp_path / "run"
    arguments = "--task adding --length 8 --hidden 8 --epochs 1 --batch-size 640".split()
    process = script(*arguments, "--out", out)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    folder, first, second, third = stdout.splitlines()
    assert folder == str(out)
    assert first.startswith("adding: SBO-RNN, preset stable, 113 parameters")
    assert second.startswith("mse: test ")
    assert re.fullmatch(r"MAE [\d.]+, R2 -?[\d.]+", third)
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    (line,) = stderr.splitlines()  # of a log: no bar, whose carriage returns would fill it
    assert line.startswith("epoch 1/1: loss ")
    assert "validation mse" in line


@pytest.mark.slow
def test_a_terminal_shows_a_bar_with_loss_and_speed(tmp_path):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    arguments = "--task adding --length 8 --hidden 8 --epochs 1 --batch-size 640".split()
    with script(*arguments, "--out", tmp_path / "run", stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # raised at the end, where a file would return b""
            while piece := os.read(ours, 4096):
                shown += piece
    assert process.returncode == 0, shown
    assert b"loss" in shown
    assert b"samples/s" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--eta 0", ["eta > 0", "got 0"]),
        ("--mu 1", ["0 <= mu < 1", "got 1"]),
        ("--operator low_rank --rank 200", ["rank 200", "128"]),
        ("--task adding --batch-size 100000", ["batch size", "6400", "100000"]),
        ("--length 5", ["length"]),
        ("--upper-rate 0", ["upper-level rate > 0", "got 0"]),
        ("--epochs 0", ["epochs >= 1", "got 0"]),
        ("--operator dense --rank 3", ["--rank has no effect with --operator dense; remove it"]),
        ("--eta-kind learned", ["--eta-kind", "without --eta"]),
        ("--mu 0.5 --solver sgd", ["--mu has no effect with --solver sgd; remove it"]),
        ("--damping 0.5", ["--damping", "--rollout unrolled"]),
        (
            "--rollout streamed --preset equilibrium --remat-chunk 2",
            ["--remat-chunk", "--rollout streamed"],
        ),
        ("--mesh data=²", ["sweep=4,data=2"]),
        ("--mesh foo=1", ["sweep=4,data=2", "leave the mesh out"]),
        ("--mesh data=3000", ["data=3000", "leave the mesh out"]),
        (
            "--operator low_rank --rank 9 --hidden 8",
            ["rank 9", "try a smaller --rank, or --operator dense"],
        ),
        (
            "--rollout parallel",
            ["that of the preset", "try --operator diagonal or scalar, or --rollout unrolled"],
        ),
        ("--rollout parallel --operator dense", ["got --operator dense; try --operator diagonal"]),
        ("--split-seed -5", ["0 <= split_seed < 2**31, got -5; try 0"]),
        ("--dropout 0.5", ["--dropout", "--layers 1"]),
        ("--input-dropout 1", ["0 <= input_dropout < 1", "got 1"]),
        ("--readout-dropout 0.5 --training bcd", ["--readout-dropout", "--training bcd"]),
        ("--variational-dropout -0.1", ["0 <= variational_dropout < 1", "got -0.1"]),
        ("--average 1", ["0 <= average < 1", "got 1"]),
        ("--average 0.9 --training penalty", ["--average has no effect with --training penalty"]),
        ("--average 0.9 --learn-hyper eta", ["--average has no effect with --learn-hyper eta"]),
        ("--warmup 1", ["0 <= warmup < 1", "got 1"]),
        ("--warmup 0.1 --training bcd", ["--warmup", "--training bcd"]),
        ("--weight-decay -1", ["weight_decay >= 0", "got -1"]),
        ("--weight-decay 0.1 --learn-hyper mu", ["--weight-decay", "--learn-hyper mu"]),
        ("--gradient-noise -1", ["gradient_noise >= 0", "got -1"]),
        ("--jitter -1", ["jitter >= 0", "got -1"]),
        ("--scale 0.1 --learn-hyper jitter", ["--scale has no effect", "--learn-hyper jitter"]),
        ("--shift 2 --training penalty", ["--shift has no effect", "--training penalty"]),
        ("--jitter 0.1 --task ptb", ["--jitter has no effect", "--task ptb"]),
        ("--affine 0.1 --task adding", ["--affine has no effect", "no images"]),
        ("--patience 3 --select last", ["--patience has no effect", "--select last"]),
        ("--label-smoothing 1", ["0 <= label_smoothing < 1", "got 1"]),
        ("--label-smoothing 0.1 --task adding", ["--task adding, which has no classes"]),
        ("--training penalty --layers 2", ["single recurrent layer"]),
        ("--training penalty --rollout sequence --preset equilibrium", ["one unrolled step"]),
        ("--training lagrangian --model lstm", ["carries its output alone", "LSTM"]),
        ("--training bcd", ["closed forms", "--energy transition", "energy than transition"]),
        ("--training bcd --model rnn", ["closed forms", "--model sbo", "got SimpleCell"]),
        ("--training penalty --model sharnn", ["layer of one cell", "ShaRNN"]),
        ("--training lagrangian --rounds 1 --penalty-growth 3", ["--penalty-growth", "--rounds 1"]),
        (
            "--training penalty --penalty 2000 --penalty-growth 2",
            ["--penalty-growth", "--penalty 2000, which is 1000 or more"],
        ),
        ("--task ptb --split-seed 5", ["--split-seed", "--task ptb"]),
        ("--training bcd --clip 2", ["--clip", "--training bcd"]),
        ("--penalty 3", ["--penalty", "--training bptt"]),
        ("--training penalty --penalty -1", ["penalty > 0", "got -1"]),
        ("--training penalty --proximity 2", ["--proximity", "--training penalty"]),
        ("--remat-chunk 0", ["remat_chunk >= 1", "got 0"]),
        ("--rollout fused", ["a GPU", "cpu"]),
        ("--rollout experimental_fused_hopper", ["a GPU", "cpu"]),
        ("--rollout experimental_fused_tpu", ["a TPU", "cpu"]),
        ("--seed -1", ["seed", "-1"]),
        ("--upper-rate nan", ["upper-level rate", "nan"]),
        ("--clip inf", ["clipping norm", "inf"]),
        ("--task har2 --raw-dir nowhere --data-dir {tmp}/data", ["nowhere"]),
        ("--out {tmp}", ["{tmp}", "not empty"]),
        ("--out {tmp}/file/run", ["{tmp}/file/run"]),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.setattr(preparation, "platform", lambda mesh: "cpu")  # on any machine
    (tmp_path / "file").write_text("in the way")
    before = sorted(tmp_path.rglob("*"))
    code = run_command_line(arguments.format(tmp=tmp_path).split())
    stderr = capsys.readouterr().err.strip()
    assert code == 2
    assert len(stderr.splitlines()) == 1
    for word in words:
        assert word.format(tmp=tmp_path) in stderr
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == [
        path for path in before if path.is_file()
    ]


@pytest.mark.slow
def test_a_stopped_script_leaves_a_folder_that_loads(tmp_path):
    arguments = "--task adding --length 8 --hidden 8 --epochs 100000 --batch-size 640".split()
    process = script(*arguments, "--out", tmp_path / "run")
    deadline = time.monotonic() + 100
    while not (tmp_path / "run/metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=100)
    assert process.returncode == 130, stderr
    assert "stopped: interrupted" in stdout
    assert "Traceback" not in stderr
    sbo.load(tmp_path / "run")


def test_freed_memory_is_kept_where_glibc_is():
    """In a process of its own: the same large block costs its page faults once."""
    script = """
import ctypes, resource, sys
from sbo_jax.devices import keep_freed_memory
kept = keep_freed_memory()
malloc, free, memset = (getattr(ctypes.CDLL(None), name) for name in ("malloc", "free", "memset"))
malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
free.argtypes = [ctypes.c_void_p]
memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
counts = []
for _ in range(4):
    block = malloc(2**26)
    memset(block, 1, 2**26)
    free(block)
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(kept, counts[3] - counts[2] < 1000)
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("a property of Linux")
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    kept, cheap = result.stdout.split()
    assert kept == "False" or cheap == "True"


def events(folder):
    """What TensorBoard would draw: {name: [(step, value), ...]}, purged as it purges."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    points = {}
    for path in sorted(folder.iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack("<Q", data[at : at + 8])
            event = Event.FromString(data[at + 12 : at + 12 + size])
            at += 16 + size
            if event.session_log.status == SessionLog.START:
                for name, old in points.items():
                    points[name] = [point for point in old if point[0] < event.step]
            for value in event.summary.value:
                points.setdefault(value.tag, []).append((event.step, value.simple_value))
    return points


def test_tensorboard_shows_what_metrics_jsonl_says_also_of_a_run_that_went_on(tmp_path):
    def reports(first, last):
        for epoch in range(first, last + 1):
            known = (epoch, 10 * epoch, 1 / epoch, 2 / epoch, 3 / epoch, None)
            yield Epoch(*known, is_best=True, state=None, losses=())

    for first, last in ((1, 3), (3, 5)):  # the third epoch is done again
        with EventFile(tmp_path) as events_file:
            for report in reports(first, last):
                events_file.epoch(report)
    found = events(tmp_path)
    assert set(found) == {"epoch", "train_loss", "validation_loss", "validation"}
    steps, values = zip(*found["validation"], strict=True)
    assert steps == (10, 20, 30, 40, 50)
    np.testing.assert_allclose(values, [3 / epoch for epoch in range(1, 6)], rtol=1e-6)


def test_tensorboard_without_its_package_is_refused(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"\.\[tensorboard\]"):
        check(TrainConfig.of(tensorboard=True))
