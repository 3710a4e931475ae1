"""Which model of a run is kept: selection, patience, and training anew on both splits."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from test_resume import StopAfter, content

from sbo_jax import tasks
from sbo_jax.runs.config import TrainConfig, check
from sbo_jax.runs.folder.run_folder import RunFolder
from sbo_jax.runs.preparation import prepare
from sbo_jax.runs.run import train
from sbo_jax.tasks._types import DataError
from sbo_jax.tasks.own.recipe import recipe_of
from sbo_jax.tasks.sources.joined import joined, scaled_together
from sbo_jax.training import ACCURACY, MSE, fit
from sbo_jax.training.selection import by_epoch, by_loss, by_metric, by_metric_then_loss

NEVER = 10**9


@pytest.fixture
def folder(tmp_path, rng):
    """Thirty sequences of five steps, in three classes of noise: validation soon gets worse."""
    inputs, labels = rng.normal(2, 3, size=(30, 5, 2)), np.arange(30) % 3
    np.savez(tmp_path / "all.npz", x=inputs, y=labels)
    (tmp_path / "dataset.toml").write_text('inputs = "all.npz:x"\nlabels = "all.npz:y"\n')
    return tmp_path


@pytest.fixture
def config(folder):
    """A run of twelve epochs of four steps."""
    own = {"hidden": 4, "batch_size": 4, "epochs": 12, "upper_rate": 0.1, "patience": 0}
    return TrainConfig.of(task="folder", folder=str(folder), **own)


def run(config, path, *stops):
    """Train in `path`, interrupted after each number of steps, until complete."""
    for stop in (*stops, NEVER):
        prepared = prepare(config)
        short = prepared._replace(task=replace(prepared.task, epoch_size=16))
        with RunFolder(path, resume=True) as folder:
            summary = train(short, folder, StopAfter(stop))
    return summary


def lines(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


# selection


@pytest.mark.parametrize("objective", [ACCURACY, MSE])
def test_scores_order_epochs_as_their_rules_say(rng, objective):
    sign = 1 if objective.higher_is_better else -1
    metrics, losses = rng.integers(3, size=20) / 2, rng.permutation(20) / 7
    epochs = list(zip(range(1, 21), metrics.tolist(), losses.tolist(), strict=True))
    by = {
        rule: max(epochs, key=lambda epoch: rule(objective, *epoch))
        for rule in (by_metric, by_loss, by_metric_then_loss, by_epoch)
    }
    best = (sign * metrics).max()
    assert sign * by[by_metric][1] == sign * by[by_metric_then_loss][1] == best
    assert by[by_loss][2] == losses.min()
    assert by[by_metric_then_loss][2] == losses[sign * metrics == best].min()
    assert by[by_epoch][0] == 20


@pytest.mark.parametrize("select", ["metric", "loss", "metric_then_loss", "last"])
def test_the_best_epoch_is_the_first_of_the_best_score(config, tmp_path, select):
    summary = run(config.changed(select=select), tmp_path / "run")
    score = {
        "metric": lambda line: line["validation"],
        "loss": lambda line: -line["validation_loss"],
        "metric_then_loss": lambda line: (line["validation"], -line["validation_loss"]),
        "last": lambda line: line["epoch"],
    }[select]
    best = max(lines(tmp_path / "run"), key=score)
    assert (summary["best_epoch"], summary["best_validation"]) == (
        best["epoch"],
        best["validation"],
    )


# patience


def test_a_run_ends_after_so_many_epochs_without_a_better_validation(config, tmp_path):
    whole = run(config.changed(select="loss"), tmp_path / "whole")
    summary = run(config.changed(select="loss", patience=2), tmp_path / "run")
    epochs, losses = 0, [line["validation_loss"] for line in lines(tmp_path / "whole")]
    while epochs < 12 and epochs - np.argmin(losses[: epochs or 1]) < 3:
        epochs += 1
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")[:epochs]
    assert summary["epochs"] == epochs
    assert whole["ended"] == "all epochs are done"
    expected = "no better validation in 2 epochs" if epochs < 12 else whole["ended"]
    assert summary["ended"] == expected


def test_an_interrupted_run_stops_where_an_uninterrupted_one_does(rng, config, tmp_path):
    impatient = config.changed(select="loss", patience=2)
    expected = run(impatient, tmp_path / "whole")
    steps = 4 * expected["epochs"]
    for stops in ([steps], rng.integers(1, steps, size=2)):
        name = f"stopped-{stops[0]}"
        summary = run(impatient, tmp_path / name, *stops)
        assert content(tmp_path / name) == content(tmp_path / "whole")
        for key in ("epochs", "ended", "best_epoch", "test"):
            assert summary[key] == expected[key]


# training anew


def test_a_refit_is_a_run_on_both_splits_for_the_steps_that_were_best(config, tmp_path):
    config = config.changed(refit=True, select="loss")
    summary = run(config, tmp_path / "run")
    prepared = prepare(config)
    both = joined(prepared.task)
    assert len(both) == len(prepared.task.train) + len(prepared.task.validation)
    assert summary["refit_steps"] == 4 * summary["best_epoch"]
    task = replace(prepared.task, train=both, epoch_size=4 * summary["refit_steps"])
    parts = prepared.model, task, prepared.objective, prepared.method
    (epoch,) = fit(*parts, epochs=1, batch_size=4, seed=0)
    _, leaves = content(tmp_path / "run")
    expected = jax.tree.leaves(epoch.state.params)
    assert [np.asarray(leaf).tobytes() for leaf in expected] == leaves


def test_a_refit_that_is_interrupted_equals_one_that_is_not(rng, config, tmp_path):
    config = config.changed(refit=True)
    expected = run(config, tmp_path / "whole")
    stops = [48 + rng.integers(1, 1 + expected["refit_steps"])]
    summary = run(config, tmp_path / "run", *stops)
    assert content(tmp_path / "run") == content(tmp_path / "whole")
    assert summary["test"] == expected["test"]
    once_more = run(config, tmp_path / "run")
    assert once_more["refit_steps"] == expected["refit_steps"]
    assert content(tmp_path / "run") == content(tmp_path / "whole")


@pytest.mark.parametrize("name", ["folder", "digits"])
def test_inputs_are_scaled_by_the_moments_of_both_splits(folder, name):
    own = {"folder": folder} if name == "folder" else {"train_fraction": 0.1}
    task = scaled_together(tasks.load(name, **own))
    both = joined(task)
    values = both.fetch(np.arange(len(both)))[0].reshape(-1, task.in_features).astype(float)
    std = np.where(np.array(task.facts["std"]) == 1, values.std(0), 1)
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(values.std(0), std, rtol=1e-4)
    for split in (task.train, task.validation, task.test):
        np.testing.assert_array_equal(split.scaler.mean, task.facts["mean"])


def test_both_splits_keep_their_samples_and_targets(folder):
    task = scaled_together(tasks.load("folder", folder=folder))
    both = joined(task)
    for first, source in ((0, task.train), (len(task.train), task.validation)):
        inputs, targets = both.fetch(first + np.arange(len(source)))
        own_inputs, own_targets = source.fetch(np.arange(len(source)))
        np.testing.assert_array_equal(inputs, own_inputs)
        np.testing.assert_array_equal(targets, own_targets)


def test_generated_samples_are_not_trained_on_anew():
    with pytest.raises(DataError, match=r"held in memory .* the task adding; leave refit"):
        prepare(TrainConfig.of(task="adding", length=4, refit=True))


def test_validation_samples_that_train_already_are_not_trained_on_anew():
    with pytest.raises(ValueError, match=r"--refit has no effect with --learn-hyper"):
        check(TrainConfig.of(learn_hyper="eta", refit=True))


# the recipe of a user's own data


def test_a_recipe_counts_updates_whatever_the_batch_size(folder):
    for batch_size in (None, 1, 7, 19):
        config = TrainConfig.of(task="folder", folder=str(folder), batch_size=batch_size)
        prepared = prepare(config)
        steps = prepared.task.epoch_size // prepared.recipe.batch_size
        assert 2000 <= prepared.recipe.epochs * steps < 2000 + steps
    asked = prepare(config.changed(updates=3 * steps - 1)).recipe
    assert (asked.epochs, asked.updates) == (3, 3 * steps - 1)
    assert prepare(config.changed(epochs=3)).recipe.updates is None
    with pytest.raises(ValueError, match="--updates has no effect with --epochs"):
        check(config.changed(epochs=3, updates=5))
    with pytest.raises(ValueError, match="batch size between 1 and the 19 training samples"):
        prepare(config.changed(batch_size=20))


def test_validation_costs_less_than_training_whatever_the_size(rng):
    for count in (1, 2, 3, *rng.integers(4, 100_000, size=50).tolist()):
        recipe, epoch_size = recipe_of(count)
        assert 1 <= recipe.batch_size <= count
        assert recipe.epochs >= 1
        steps = epoch_size // recipe.batch_size
        assert steps >= 50
        assert epoch_size >= count


def test_own_data_get_a_smaller_width_unless_it_is_chosen(folder):
    other = prepare(TrainConfig.of(task="adding", length=4)).config
    assert other.layer.hidden == 128
    own = TrainConfig.of(task="folder", folder=str(folder))
    for hidden, expected in ((None, 64), (128, 128)):
        assert prepare(own.changed(hidden=hidden)).config.layer.hidden == expected
