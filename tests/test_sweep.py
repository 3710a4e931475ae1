"""Many models trained at once are the same models trained alone; a grid is checked and reported."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import chex
import jax
import numpy as np
import optax
import pytest
from flax import nnx

import sbo_jax as sbo
from sbo_jax import tasks
from sbo_jax.nn.lower_report import LowerReport
from sbo_jax.runs import sweep_command
from sbo_jax.runs.build import build_model
from sbo_jax.runs.folder import sweep_progress
from sbo_jax.runs.preparation import prepare
from sbo_jax.runs.sweep import PreparedSweep, SweepConfig, cell_reports, prepare_sweep, sweep
from sbo_jax.training.fit import fit
from sbo_jax.training.fit_many import SweepEpoch, fit_many
from sbo_jax.training.objectives import MSE
from sbo_jax.training.optimizer import default_optimizer
from sbo_jax.training.step import bptt

ROOT = Path(__file__).parents[1]
SIZES = {"epochs": 2, "batch_size": 640}
SMALL = SweepConfig.of(
    etas=(0.1, 1e6),
    mus=(0.0, 0.9),
    seeds=(0, 1),
    task="adding",
    length=8,
    hidden=8,
    upper_rate=1e-2,
    **SIZES,
)
ARRAYS = ("train_loss", "validation_loss", "validation", "diverged_step")


class Swept(NamedTuple):
    prepared: PreparedSweep
    states_before: list
    epochs: list[SweepEpoch]
    heard: list[tuple[int, float]]


def states(models):
    return jax.tree.map(np.array, [nnx.to_pure_dict(nnx.state(model)) for model in models])


def traced_once(first):
    method = first.method
    return first._replace(method=method._replace(step=chex.assert_max_traces(method.step, 1)))


@pytest.fixture(scope="module")
def swept():
    """One sweep for the tests that only look at it: cells 0 to 3 are sound, 4 to 7 diverge."""
    prepared, heard = prepare_sweep(SMALL), []
    before = states(prepared.models)
    watched = prepared._replace(first=traced_once(prepared.first))
    epochs = list(sweep(watched, lambda *pair: heard.append(pair)))
    return Swept(prepared, before, epochs, heard)


def test_a_cell_of_a_sweep_that_traces_once_is_the_run_trained_alone(swept):
    index = 2  # its neighbours differ in eta, mu and seed, and some diverge
    run = prepare(SMALL.run(*SMALL.cells()[index]))
    assert run.config.run.seed == 0  # which orders the batches of the sweep
    alone = fit(run.model, run.task, MSE, bptt(default_optimizer(1e-2, 20)), **SIZES)
    for one, all_ in zip(alone, swept.epochs, strict=True):
        for name in ("train_loss", "validation_loss", "validation"):
            np.testing.assert_allclose(getattr(all_, name)[index], getattr(one, name), rtol=1e-4)


def test_models_are_left_as_they_were(swept):
    chex.assert_trees_all_equal(states(swept.prepared.models), swept.states_before)


def test_on_step_hears_the_median_of_the_finite_losses(swept):
    assert [step for step, _ in swept.heard] == list(range(1, 21))
    first = [loss for step, loss in swept.heard if step <= 10]
    sound = swept.epochs[0].train_loss[:4]
    assert sound.min() < np.mean(first) < sound.max()


@pytest.mark.slow
def test_a_diverged_cell_does_not_touch_its_neighbours_however_many_run_at_once():
    task = tasks.load("adding", length=8)

    def train(eta, at_once):
        models = [
            build_model(SMALL.run(eta, 0.5, seed), in_features=2, out_features=1, metric="mse")
            for seed, eta in enumerate((0.1, eta, 0.2))
        ]
        method = bptt(optax.adam(1e-2))
        (epoch,) = fit_many(
            models, task, MSE, method, epochs=1, batch_size=640, cells_at_once=at_once
        )
        return epoch

    sound, diverged = train(0.1, at_once=1), train(1e6, at_once=3)
    assert list(diverged.diverged_step > 0) == [False, True, False]
    assert not np.isfinite(diverged.train_loss[1])
    for name in ARRAYS:
        ours, theirs = (getattr(epoch, name)[[0, 2]] for epoch in (diverged, sound))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_models_of_different_structure_are_refused(swept):
    task = swept.prepared.first.task
    run = swept.prepared.first.config.changed(operator="dense")
    other = build_model(run, in_features=2, out_features=1, metric="mse")
    method = bptt(optax.adam(1e-2))
    with pytest.raises(ValueError, match="differ in the values"):
        next(fit_many([swept.prepared.models[0], other], task, MSE, method, **SIZES))


def test_models_that_carry_sequences_are_refused():
    task, rngs = tasks.load("adding", length=8), nnx.Rngs(0)
    models = [sbo.SequenceLanguageModel(sbo.SBORNN(4, 4, rngs=rngs), 4, 7, rngs=rngs)] * 2
    with pytest.raises(ValueError, match="got one that carries sequences"):
        next(fit_many(models, task, MSE, bptt(optax.adam(1e-2)), **SIZES))


def test_cells_are_judged_by_what_the_objective_reports(swept):
    """The root of the mean square here, which is no mean."""
    task, models = swept.prepared.first.task, swept.prepared.models[:2]
    ends = (
        next(fit_many(models, task, objective, bptt(optax.adam(1e-2)), **SIZES))
        for objective in (MSE, MSE._replace(reported=np.sqrt))
    )
    squares, roots = (epoch.validation for epoch in ends)
    np.testing.assert_allclose(roots**2, squares, rtol=1e-5)


def test_reports_tell_what_happened_to_every_cell(swept):
    reports = cell_reports(swept.prepared, swept.epochs)
    sound, diverged = (json.loads(json.dumps(reports[i], allow_nan=False)) for i in (3, 4))
    bound = LowerReport.of(swept.prepared.models[3]).bound
    np.testing.assert_allclose(sound["eta_L"], 0.1 / bound)
    assert (sound["eta"], sound["mu"], sound["seed"], sound["metric"]) == (0.1, 0.9, 1, "mse")
    values = [line["validation"] for line in sound["curve"]]
    assert values == [float(epoch.validation[3]) for epoch in swept.epochs]
    assert sound["final"] == values[-1]
    assert sound["best"] == min(values) == values[sound["best_epoch"] - 1]
    assert sound["diverged"] is False
    assert sound["diverged_step"] is sound["diverged_epoch"] is None
    assert diverged["diverged"] is True
    assert (diverged["diverged_epoch"], diverged["diverged_step"]) == (1, 1)
    assert diverged["final"] is diverged["best"] is diverged["best_epoch"] is None
    assert diverged["curve"] == []


def late_divergence(cells):
    """Four epochs in which every cell diverges at step 27, in the third."""
    ones, steps = np.ones(cells), (0, 0, 27, 27)
    return [
        SweepEpoch(i, ones, ones, ones / i, np.full(cells, step)) for i, step in enumerate(steps, 1)
    ]


def test_a_cell_that_diverges_late_keeps_its_curve_until_then(swept):
    report = cell_reports(swept.prepared, late_divergence(8))[0]
    assert [line["epoch"] for line in report["curve"]] == [1, 2]
    assert (report["best"], report["final"]) == (0.5, None)
    assert (report["diverged_epoch"], report["diverged_step"]) == (3, 27)


@pytest.mark.slow
def test_the_script_spreads_cells_over_the_cores_and_fills_a_folder(tmp_path):
    arguments = "--task adding --length 8 --hidden 4 --epochs 1 --batch-size 1280 --seeds 0 "
    arguments += f"--etas 0.1 1e6 --mus 0 0.9 --out {tmp_path}/run"
    process = subprocess.run(
        [sys.executable, ROOT / "scripts/sweep_eta.py", *arguments.split()],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=100,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines() == [str(tmp_path / "run"), "2 of 4 cells diverged"]
    assert "median loss" in process.stderr
    cells = cells_of(tmp_path / "run")
    assert [cell["diverged"] for cell in cells] == [False, False, True, True]
    assert json.loads((tmp_path / "run/config.json").read_text())["sweep"]["etas"] == [0.1, 1e6]
    for name in ("heat_map.png", "curves.png"):
        assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("during", ["a step", "an evaluation"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_sweep_keeps_the_epochs_before_and_says_by_which_signal(
    tmp_path, monkeypatch, number, during
):
    def interrupted(prepared, on_step, between_batches, start):
        yield from late_divergence(8)[:2]
        os.kill(os.getpid(), number)
        on_step(3, 0.5) if during == "a step" else between_batches()

    monkeypatch.setattr(sweep_command, "sweep", interrupted)
    assert sweep_command.sweep_once(SMALL.changed(out=tmp_path / "run")) == 128 + number
    assert [len(cell["curve"]) for cell in cells_of(tmp_path / "run")] == [2] * 8


@pytest.mark.slow
def test_a_sweep_that_stops_anywhere_goes_on_as_if_it_never_had(
    tmp_path, monkeypatch, rng, swept, capsys
):
    config = SMALL.changed(out=tmp_path / "run", resume=True)
    last, train = rng.integers(11, 21), sweep_command.sweep  # in the second epoch

    def stopped(prepared, on_step, between_batches, start):
        def stop_at_the_last(step, loss):
            if step == last:
                os.kill(os.getpid(), signal.SIGINT)
            on_step(step, loss)

        return train(prepared, stop_at_the_last, between_batches, start)

    with monkeypatch.context() as patch:
        patch.setattr(sweep_command, "sweep", stopped)
        assert sweep_command.sweep_once(config) == 128 + signal.SIGINT
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"stopped: the same command with --out {config.out} --resume goes on"
    assert len(cells_of(tmp_path / "run")[0]["curve"]) == 1
    with pytest.raises(ValueError, match=r"clip is 1.0 there and 2.0 here"):
        sweep_command.sweep_once(config.changed(clip=2.0))
    assert sweep_command.sweep_once(config) == 0
    assert cells_of(tmp_path / "run") == cell_reports(swept.prepared, swept.epochs)
    with monkeypatch.context() as patch:  # warnings are errors: a finished sweep goes nowhere
        patch.setattr(sweep_progress, "machine", lambda mesh: "9 devices in 1 process")
        assert sweep_command.sweep_once(config) == 0


def cells_of(folder):
    return [json.loads(line) for line in (folder / "cells.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--resume", ["--resume has no effect without --out RUN"]),
        ("--etas 0.1 0", ["eta > 0", "got 0"]),
        ("--etas nan", ["eta > 0", "got nan"]),
        ("--etas inf", ["finite eta > 0", "got inf"]),
        ("--mus 0.5 1", ["0 <= mu < 1", "got 1"]),
        ("--mus -0.1", ["0 <= mu < 1", "got -0.1"]),
        ("--etas 0.1 0.1", ["different etas", "[0.1, 0.1]"]),
        ("--seeds", ["one or more", "seeds", "[]"]),
        ("--hidden 0", ["hidden >= 1", "got 0"]),
        ("--solver sgd", ["a solver with momentum", "--solver heavy_ball --mus 0"]),
        ("--solvers heavy_ball,sgd", ["a solver with momentum"]),
        ("--operators dense,dense", ["different operators", "['dense', 'dense']"]),
        ("--hidden 8 8", ["different hidden", "[8, 8]"]),
        ("--operator dense --operators dense scalar", ["--operator has no effect", "remove it"]),
        ("--operators dense low_rank --rank 4", ["--rank has no effect with --operator dense"]),
        ("--task adding --length 8 --eta-kind normalised", ["0 < eta L < 1", "got 1"]),
        ("--model gru", ["--eta has no effect with --model gru"]),
        ("--dropout 0.5", ["--dropout has no effect with --layers 1"]),
        ("--length 5", ["length"]),
        ("--epochs 20 --updates 9", ["--updates has no effect with --epochs 20"]),
        ("--task adding --upper-rate 0", ["upper-level rate > 0", "got 0"]),
        ("--task adding --length 8 --hidden 4 --out {tmp}", ["{tmp}", "not empty"]),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(tmp_path, capsys, arguments, words):
    (tmp_path / "file").write_text("in the way")
    code = sweep_command.run_command_line(arguments.format(tmp=tmp_path).split())
    stderr = capsys.readouterr().err.strip()
    assert code == 2
    assert len(stderr.splitlines()) == 1
    for word in words:
        assert word.format(tmp=tmp_path) in stderr
