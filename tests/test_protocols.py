"""What a run reports of the test split: of the epoch it chose, of a refit, and of every epoch."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sealed import Sealed
from test_resume import StopAfter, content

import sbo_jax
from sbo_jax.card import model_card
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.folder.run_folder import RunFolder
from sbo_jax.runs.preparation import load_task, prepare
from sbo_jax.runs.run import train, train_without_test
from sbo_jax.runs.test_split.answers import of_samples, of_windows, read_answers
from sbo_jax.runs.test_split.bootstrap import intervals
from sbo_jax.runs.train_command import print_summary
from sbo_jax.training.fit import Evaluator, fit
from sbo_jax.training.predictions import Predicted
from sbo_jax.training.window_losses import WindowLosses


def epoch_lines(path):
    return [json.loads(line) for line in (path / "test_epochs.jsonl").read_text().splitlines()]


@pytest.fixture
def folder(tmp_path, rng):
    """Thirty sequences of five steps, in three classes of noise."""
    np.savez(tmp_path / "all.npz", x=rng.normal(2, 3, size=(30, 5, 2)), y=np.arange(30) % 3)
    text = 'inputs = "all.npz:x"\nlabels = "all.npz:y"\ntest = 0.3\nvalidation = 0.2\n'
    (tmp_path / "dataset.toml").write_text(text)
    return tmp_path


@pytest.fixture
def config(folder):
    """A run of twelve epochs of four steps."""
    own = {"hidden": 4, "batch_size": 4, "epochs": 12, "upper_rate": 0.1, "patience": 0}
    return TrainConfig.of(task="folder", folder=str(folder), **own)


@pytest.fixture
def looked_at(monkeypatch):
    """The sources that are evaluated, in turn."""
    seen, call = [], Evaluator.__call__

    def noting(self, state, source):
        seen.append(source)
        return call(self, state, source)

    monkeypatch.setattr(Evaluator, "__call__", noting)
    return seen


def one_run(config, path, *stops, **options):
    """As `run` of test_choice does, with options of `train`; also the task."""
    for stop in (*stops, 10**9):
        prepared = prepare(config)
        short = prepared._replace(task=replace(prepared.task, epoch_size=16))
        with RunFolder(path, resume=True) as folder:
            summary = train(short, folder, StopAfter(stop), **options)
    return summary, short


def stopped_between_batches(config, path, stop_at):
    """A run of the same data that is interrupted when it looks for that the `stop_at`-th time."""
    looks = iter(range(10**6))

    def interrupt():
        if next(looks) == stop_at:
            raise KeyboardInterrupt

    prepared = prepare(config)
    short = prepared._replace(task=replace(prepared.task, epoch_size=16))
    with RunFolder(path, resume=True) as folder:
        assert train(short, folder, between_batches=interrupt)["stopped"] == "interrupted"


def test_a_run_looks_at_the_test_split_once_and_at_its_end(config, tmp_path, looked_at):
    _, prepared = one_run(config, tmp_path / "run")
    is_test = [len(source) == len(prepared.task.test) for source in looked_at]
    assert len(prepared.task.test) != len(prepared.task.validation)
    assert is_test == [False] * 12 + [True]
    assert not (tmp_path / "run/test_epochs.jsonl").exists()


def sealed(config):
    """The run with a test split that nobody may read, from the moment that its data are scaled."""
    if config.choice.refit:
        prepared = prepare(config)
        return prepared._replace(task=replace(prepared.task, test=Sealed()))
    return prepare(config, lambda data: replace(load_task(data), test=Sealed()))


@pytest.mark.parametrize("refit", [False, True])
def test_a_run_without_test_never_reads_the_test_split(config, tmp_path, refit):
    config = config.changed(refit=refit, report_test_epochs=True, epochs=2)
    with (
        RunFolder(tmp_path / "looking") as folder,
        pytest.raises(AssertionError, match="the test split"),
    ):
        train(sealed(config), folder)
    with RunFolder(tmp_path / "run") as folder:
        summary = train_without_test(sealed(config), folder)
    assert "stopped" not in summary
    assert summary["best_validation"] is not None
    assert not [name for name in summary if name in ("test", "scores", "intervals", "best_test")]
    assert json.loads((tmp_path / "run/summary.json").read_text()) == summary
    assert not (tmp_path / "run/test_epochs.jsonl").exists()


def test_a_run_without_test_is_the_same_run_and_can_be_tested_later(config, tmp_path):
    expected, prepared = one_run(config, tmp_path / "whole")
    with RunFolder(tmp_path / "run") as folder:
        summary = train_without_test(prepared, folder)
    untested = {name: expected[name] for name in summary}
    assert summary | {"seconds": 0} == untested | {"seconds": 0}
    assert content(tmp_path / "run") == content(tmp_path / "whole")
    later, _ = one_run(config, tmp_path / "run")
    assert later | {"seconds": 0} == expected | {"seconds": 0}


def test_whoever_tells_of_a_run_without_test_says_so(config, tmp_path):
    with RunFolder(tmp_path / "run") as folder:
        summary = train_without_test(prepare(config), folder)
    run = sbo_jax.load(tmp_path / "run")
    reached = f"accuracy {summary['best_validation']:.4g}"
    assert f"On validation {reached}. Nobody has looked at the test split." in model_card(run)
    assert f"accuracy: validation {summary['best_validation']:.4g}\n" in str(run)
    run.export(tmp_path / "model.zip")


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_the_test_metric_of_every_epoch_is_logged_apart_and_changes_nothing(
    config, tmp_path, average
):
    config = config.changed(average=average)
    plain, prepared = one_run(config, tmp_path / "plain")
    summary, _ = one_run(config.changed(report_test_epochs=True), tmp_path / "run")
    assert content(tmp_path / "run") == content(tmp_path / "plain")
    of_epochs = {name: summary.pop(name) for name in ("best_test_epoch", "best_test")}
    changing = {"seconds": 0}
    assert summary | changing == plain | changing
    # another way to the same numbers: the test samples in the place of validation
    parts = prepared.model, replace(prepared.task, validation=prepared.task.test)
    epochs = list(fit(*parts, prepared.objective, prepared.method, epochs=12, batch_size=4))
    values = [line["test"] for line in epoch_lines(tmp_path / "run")]
    assert values == [epoch.validation for epoch in epochs]
    best = int(np.argmax(values))
    assert of_epochs == {"best_test_epoch": best + 1, "best_test": values[best]}
    assert values[summary["best_epoch"] - 1] == summary["test"]


def test_the_log_of_an_interrupted_run_equals_that_of_another(config, tmp_path, rng):
    config = config.changed(report_test_epochs=True, refit=True)
    expected, _ = one_run(config, tmp_path / "whole")
    summary, _ = one_run(config, tmp_path / "run", *rng.integers(1, 48, size=2))
    assert epoch_lines(tmp_path / "run") == epoch_lines(tmp_path / "whole")
    for name in ("best_test", "best_test_epoch", "test", "intervals", "chosen"):
        assert summary[name] == expected[name]


def test_a_stop_while_an_epoch_is_tested_loses_no_step(config, tmp_path, rng):
    config = config.changed(report_test_epochs=True)
    one_run(config, tmp_path / "whole")
    stopped_between_batches(config, tmp_path / "run", int(rng.integers(1, 24)))
    one_run(config, tmp_path / "run")
    assert content(tmp_path / "run") == content(tmp_path / "whole")
    assert epoch_lines(tmp_path / "run") == epoch_lines(tmp_path / "whole")


def test_a_log_with_lost_lines_names_no_best_epoch(config, tmp_path):
    config = config.changed(report_test_epochs=True)
    one_run(config, tmp_path / "run")
    for name in ("test_epochs.jsonl", "summary.json"):  # a finished run would keep its summary
        (tmp_path / "run" / name).unlink()
    summary, _ = one_run(config, tmp_path / "run")
    assert (summary["best_test"], summary["best_test_epoch"]) == (None, None)


def test_a_refit_also_reports_the_model_that_validation_chose(config, tmp_path):
    asked = config.changed(refit=True, report_test_epochs=True)
    summary, prepared = one_run(asked, tmp_path / "run", keep_answers=True)
    of_chosen = epoch_lines(tmp_path / "run")[summary["best_epoch"] - 1]
    assert summary["chosen"]["test"] == of_chosen["test"]
    for name, told in (("answers.npz", summary), ("chosen_answers.npz", summary["chosen"])):
        answers = read_answers(tmp_path / "run" / name)
        right = answers.outputs.argmax(-1) == answers.targets
        assert right.mean() == pytest.approx(told["test"])
        assert told["resampled"] == {"unit": "sample", "count": len(prepared.task.test)}
        low, high = told["intervals"]["accuracy"]
        assert low <= told["test"] <= high
    again, _ = one_run(asked, tmp_path / "run")
    assert again == summary
    assert one_run(config, tmp_path / "plain")[0]["chosen"] is None


def test_whoever_tells_of_a_refitted_run_tells_its_two_models_apart(config, tmp_path, capsys):
    asked = config.changed(refit=True)
    summary, _ = one_run(asked, tmp_path / "run")
    chosen, refitted = f"{summary['chosen']['test']:.4g}", f"{summary['test']:.4g}"
    run = sbo_jax.load(tmp_path / "run")
    rows = [line for line in model_card(run).splitlines() if line.startswith("| accuracy")]
    first, second = ([cell.strip() for cell in row.split("|")] for row in rows)
    assert first[2:4] == [f"{summary['best_validation']:.4g}", chosen]
    assert second[2:4] == ["", refitted]
    assert f"test {chosen}, test after the refit {refitted}" in str(run)
    print_summary("run", summary)
    assert f"test {refitted} after the refit" in capsys.readouterr().out


def test_samples_of_a_group_are_resampled_together(folder, config):
    content = dict(np.load(folder / "all.npz")) | {"g": np.arange(30) // 3}
    np.savez(folder / "all.npz", **content)
    with (folder / "dataset.toml").open("a") as file:
        file.write('groups = "all.npz:g"\n')
    task = prepare(config).task
    count = len(task.test)
    order = np.random.default_rng(0).permutation(count)
    outputs, targets = np.eye(3)[order % 3], np.arange(count)[order] % 3
    answers = of_samples(task, Predicted(outputs.astype(np.float32), targets, order))
    assert answers.unit == "group"
    assert answers.num_units == count // 3
    np.testing.assert_array_equal(answers.targets, np.arange(count) % 3)
    np.testing.assert_array_equal(np.bincount(answers.units), np.full(count // 3, 3))
    np.testing.assert_array_equal(np.diff(answers.units) != 0, np.arange(1, count) % 3 == 0)


def test_windows_are_resampled_whole(rng):
    losses = WindowLosses(rng.normal(50, 5, size=40), rng.integers(5, 10, size=40).astype(float))
    low, high = intervals([of_windows(losses)])["perplexity"]
    assert low < np.exp(losses.sums.sum() / losses.counts.sum()) < high
