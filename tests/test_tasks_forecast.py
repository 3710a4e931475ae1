"""`horizon`: the inputs some steps later are what is predicted."""

import json

import numpy as np
import pytest

from sbo_jax import tasks
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.preparation import prepare
from sbo_jax.runs.train_command import run_command_line
from sbo_jax.tasks._types import DataError


@pytest.fixture
def sequences(rng):
    return [rng.normal(3, 5, size=(n, 2)) for n in rng.integers(4, 15, 30)]


def as_arrays(folder, sequences, more="horizon = 3"):
    offsets = np.cumsum([0, *map(len, sequences)])
    np.savez(folder / "all.npz", x=np.concatenate(sequences), at=offsets)
    text = f'inputs = "all.npz:x"\noffsets = "all.npz:at"\n{more}'
    (folder / "dataset.toml").write_text(text)


def as_table(folder, sequences, more="horizon = 3"):
    lines = ["run,a,b"]
    for number, sequence in enumerate(sequences):
        lines += [f"r{number},{a!r},{b!r}" for a, b in sequence.tolist()]
    (folder / "all.csv").write_text("\n".join(lines))
    (folder / "dataset.toml").write_text(f'table = "all.csv"\nsequence = "run"\n{more}')


def load(folder):
    return tasks.load("folder", folder=folder)


@pytest.mark.parametrize("write", [as_arrays, as_table])
def test_a_target_is_the_input_some_steps_later(write, sequences, tmp_path):
    write(tmp_path, sequences)
    task = load(tmp_path)
    assert (task.per_step, task.forecasts, task.metric, task.out_features) == (True, True, "mse", 2)
    mean, std = (np.array(task.facts[name]) for name in ("target_mean", "target_std"))
    batch = task.train.batch(np.arange(len(task.train)), 20)
    for sequence, targets, weights in zip(
        task.train.inputs, batch.targets, batch.weights, strict=True
    ):
        later = sequence[3:]
        np.testing.assert_array_equal(weights, np.arange(20) < len(later))
        np.testing.assert_allclose(targets[: len(later)] * std + mean, later, rtol=1e-5, atol=1e-4)


def test_statistics_of_targets_are_those_of_the_steps_that_are_targets(sequences, tmp_path):
    as_arrays(tmp_path, sequences)
    task = load(tmp_path)
    later = np.concatenate([sequence[3:] for sequence in task.train.inputs])
    np.testing.assert_allclose(task.facts["target_mean"], later.mean(0), rtol=1e-9)
    np.testing.assert_allclose(task.target_std, later.std(0), rtol=1e-9)


def test_a_forecast_trains_and_beats_the_mean_of_what_it_can_know(tmp_path, rng):
    steps = np.arange(60)
    waves = [np.sin(0.4 * steps + p)[:, None] for p in rng.uniform(0, 2 * np.pi, 60)]
    as_arrays(tmp_path, waves, "horizon = 2")
    out = tmp_path / "run"
    command = ["--task", "folder", "--folder", str(tmp_path), "--hidden", "16", "--updates", "300"]
    assert run_command_line([*command, "--out", str(out)]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["test"] < 0.1  # of a variance of 1/2
    assert summary["scores"]["r2"] > 0.8


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("horizon = 0", "expected horizon >= 1, got 0"),
        ("horizon = 99", "more than horizon = 99 steps, got"),
        ('horizon = 1\nmetric = "accuracy"', 'expected metric = "mse" together with horizon'),
        ('horizon = 1\nlabels = "all.npz:x"', "together with horizon, got labels"),
        ('horizon = 1\nmissing = "mask"', "targets would be made up"),
        ('horizon = 1\nmissing = "carry"', "targets would be made up"),
        ('horizon = 1\ntest = {inputs = "a.npy", labels = "b.npy"}', "got labels and horizon"),
        ('test = {inputs = "all.npz:x"}\nlabels = "all.npz:x"', "test: .*got no labels"),
        ("horizon = 1.5", "expected an integer for horizon"),
    ],
)
def test_what_cannot_be_forecast_is_refused(more, words, sequences, tmp_path):
    as_arrays(tmp_path, sequences, more)
    with pytest.raises(DataError, match=words):
        load(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"rollout": "streamed", "preset": "equilibrium"},
        {"rollout": "sequence", "preset": "equilibrium"},
    ],
)
def test_a_layer_that_has_read_what_it_predicts_is_refused(options, sequences, tmp_path):
    as_arrays(tmp_path, sequences)
    config = TrainConfig.of(task="folder", folder=str(tmp_path), hidden=4, **options)
    with pytest.raises(ValueError, match="states know the steps so far"):
        prepare(config)


def test_a_layer_of_bricks_is_refused_before_it_trains(sequences, tmp_path):
    as_arrays(tmp_path, sequences)
    config = TrainConfig.of(task="folder", folder=str(tmp_path), hidden=4, model="sharnn")
    with pytest.raises(ValueError, match="bricks have none"):
        prepare(config)
