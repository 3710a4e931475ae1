"""How evenly gradients reach back, epoch by epoch, in the folder of a run."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_protocols import one_run, stopped_between_batches
from test_resume import StopAfter, content

import sbo_jax.runs.watching.gradient_flow as logged
from sbo_jax.nn import cell_gradient_flow
from sbo_jax.runs.config import TrainConfig, check
from sbo_jax.runs.folder.run_folder import RunFolder
from sbo_jax.runs.preparation import prepare
from sbo_jax.runs.run import train
from sbo_jax.runs.train_command import open_run
from sbo_jax.runs.watching.gradient_flow import MOST_SAMPLES, measured_inputs
from sbo_jax.stability.flow import flow_ratio
from sbo_jax.training.fit import fit
from sbo_jax.training.step import merge

ROOT = Path(__file__).parents[1]


def flow_lines(path):
    return [json.loads(line) for line in (path / "gradient_flow.jsonl").read_text().splitlines()]


def folder_of(path, lengths):
    """A data set of sequences of these lengths, of three classes of noise; an option for it."""
    rng = np.random.default_rng()
    steps, ends = rng.normal(2, 3, size=(sum(lengths), 2)), np.cumsum([0, *lengths])
    np.savez(path / "all.npz", x=steps, o=ends, y=np.arange(len(lengths)) % 3)
    text = 'inputs = "all.npz:x"\noffsets = "all.npz:o"\nlabels = "all.npz:y"\n'
    (path / "dataset.toml").write_text(f"{text}test = 0.3\nvalidation = 0.2\n")
    return {"task": "folder", "folder": str(path)}


@pytest.fixture
def config(tmp_path):
    """A run of five epochs of four steps."""
    own = {"hidden": 4, "batch_size": 4, "epochs": 5, "upper_rate": 0.1, "patience": 0}
    return TrainConfig.of(**folder_of(tmp_path, [5] * 30), **own, mesh="data=1")


def test_the_flow_of_every_epoch_is_logged_from_the_start_on_and_changes_nothing(config, tmp_path):
    """Of the model that is kept: here, of an average."""
    config = config.changed(average=0.9)
    plain, prepared = one_run(config, tmp_path / "plain")
    summary, _ = one_run(config.changed(report_gradient_flow=True), tmp_path / "run")
    assert content(tmp_path / "run") == content(tmp_path / "plain")
    assert summary | {"seconds": 0} == plain | {"seconds": 0}
    assert not (tmp_path / "plain/gradient_flow.jsonl").exists()
    lines = flow_lines(tmp_path / "run")
    assert [(line["epoch"], line["step"]) for line in lines] == [(i, 4 * i) for i in range(6)]
    # another way to the same numbers: the cell, on the states that `fit` yields
    graphdef, state = prepared.init()
    xs = jnp.moveaxis(measured_inputs(prepared), 1, 0)
    parts = prepared.model, prepared.task, prepared.objective, prepared.method
    epochs = fit(*parts, epochs=5, batch_size=4, mesh=prepared.mesh)
    states = [state, *(epoch.state for epoch in epochs)]

    @jax.jit
    def flow(state, xs):
        cell = merge(graphdef, state).rnn.cells[0]
        return cell_gradient_flow(cell, xs, select=lambda carry: carry.h)

    for line, after in zip(lines, map(prepared.method.kept, states), strict=True):
        norms = flow(after, xs)
        found = [line["ratio"], line["largest"], line["smallest"]]
        expected = flow_ratio(norms), norms.max(), norms.min()
        np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_the_flow_of_an_interrupted_run_equals_that_of_another(config, tmp_path, rng):
    config = config.changed(report_gradient_flow=True, report_test_epochs=True)
    one_run(config, tmp_path / "whole")
    one_run(config, tmp_path / "run", *rng.integers(1, 20, size=2))
    assert flow_lines(tmp_path / "run") == flow_lines(tmp_path / "whole")
    one_run(config, tmp_path / "run")
    assert flow_lines(tmp_path / "run") == flow_lines(tmp_path / "whole")


def test_a_stop_within_an_epoch_that_was_measured_measures_it_once(config, tmp_path, rng):
    """The look at the test split is cut short beside the measurement."""
    config = config.changed(report_gradient_flow=True, report_test_epochs=True)
    one_run(config, tmp_path / "whole")
    stopped_between_batches(config, tmp_path / "run", int(rng.integers(1, 20)))
    one_run(config, tmp_path / "run")
    assert flow_lines(tmp_path / "run") == flow_lines(tmp_path / "whole")


def test_a_log_that_was_lost_begins_anew_and_stops_nobody(config, tmp_path):
    prepared = prepare(config.changed(report_gradient_flow=True))
    short = prepared._replace(task=replace(prepared.task, epoch_size=16))
    with RunFolder(tmp_path / "run", resume=True) as folder:
        train(short, folder, StopAfter(10))
    (tmp_path / "run/gradient_flow.jsonl").unlink()
    one_run(prepared.config, tmp_path / "run")
    assert [line["epoch"] for line in flow_lines(tmp_path / "run")] == [0, 3, 4, 5]


def test_one_program_measures_all_epochs(config, tmp_path, monkeypatch):
    traces, measure = [], logged.layer_gradient_flow

    def noting(*arguments):
        traces.append(None)
        return measure(*arguments)

    monkeypatch.setattr(logged, "layer_gradient_flow", noting)
    one_run(config.changed(report_gradient_flow=True, hidden=5), tmp_path / "run")
    assert len(flow_lines(tmp_path / "run")) == 6
    assert len(traces) == 1


@pytest.mark.slow
def test_several_devices_measure_what_one_does(config, tmp_path):
    folder = f"{tmp_path}"
    for devices in (1, 2):
        options = "--task folder --hidden 4 --batch-size 4 --updates 8 --report-gradient-flow"
        options += f" --folder {folder} --mesh data={devices} --out {tmp_path}/{devices}"
        command = [sys.executable, ROOT / "scripts/train.py", *options.split()]
        subprocess.run(command, check=True, env=os.environ | {"JAX_NUM_CPU_DEVICES": "2"})
    one, two = (flow_lines(tmp_path / f"{devices}") for devices in (1, 2))
    assert len(one) > 1
    assert one[0] == two[0]
    np.testing.assert_allclose([x["ratio"] for x in two], [x["ratio"] for x in one], rtol=1e-3)


def test_a_gradient_that_underflows_has_no_ratio(tmp_path):
    own = {"hidden": 4, "batch_size": 4, "epochs": 1, "report_gradient_flow": True}
    config = TrainConfig.of(**folder_of(tmp_path, [400] * 15), **own, model="rnn")
    one_run(config, tmp_path / "run")
    first = flow_lines(tmp_path / "run")[0]
    assert (first["ratio"], first["smallest"]) == (None, 0.0)
    assert first["largest"] > 0


def test_what_is_measured_is_whole_sequences_of_the_most_frequent_length(tmp_path, rng):
    lengths = rng.permutation([3] * 20 + [7] * 150 + list(range(8, 28)))
    config = TrainConfig.of(**folder_of(tmp_path, lengths), batch_size=100)
    prepared = prepare(config)
    source = prepared.task.validation
    counts = np.bincount(source.inputs.lengths)
    inputs = measured_inputs(prepared)
    length = int(max(np.flatnonzero(counts == counts.max())))
    assert inputs.shape == (min(MOST_SAMPLES, counts[length]), length, 2)
    own = [source.scaler(x) for x in source.inputs if len(x) == length]
    assert all(any(np.array_equal(x, y) for y in own) for x in inputs)
    assert len({x.tobytes() for x in inputs}) == len(inputs)
    few = prepared._replace(recipe=replace(prepared.recipe, batch_size=5))
    assert len(measured_inputs(few)) == 5


def test_at_most_64_samples_from_all_over_the_split_are_measured():
    prepared = prepare(TrainConfig.of(hidden=4, batch_size=100))
    inputs = measured_inputs(prepared)
    whole = prepared.task.validation.fetch(np.arange(len(prepared.task.validation)))[0]
    assert inputs.shape == (64, *whole.shape[1:])
    np.testing.assert_array_equal(inputs[0], whole[0])
    np.testing.assert_array_equal(inputs[-1], whole[-1])


def test_sequences_of_one_step_are_refused_before_there_is_a_folder(tmp_path):
    data = folder_of(tmp_path, [1] * 30)
    config = TrainConfig.of(**data, report_gradient_flow=True, out=tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"T >= 2 time steps for --report-gradient-flow, got T = 1"
    ):
        open_run(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({"task": "ptb"}, "--task ptb, whose samples do not stand for themselves"),
        ({"model": "sharnn"}, "--model sharnn, which reads pieces of a sequence side by side"),
        (
            {"rollout": "sequence", "preset": "equilibrium"},
            "--rollout sequence, whose gradient does not go back step by step",
        ),
        (
            {"rollout": "streamed", "preset": "equilibrium"},
            "--rollout streamed, whose gradient does not go back step by step",
        ),
    ],
)
def test_what_has_no_flow_through_time_is_refused(options, refused):
    with pytest.raises(ValueError, match=f"--report-gradient-flow has no effect with {refused}"):
        check(TrainConfig.of(report_gradient_flow=True, **options))
