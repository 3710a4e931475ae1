"""A search: what a file asks for, what the sampler is told, what is left, and who reads what."""

import json
import math
import os
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from on_workers import WHERE
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from test_join import inline

from sbo_jax.experiments.file import read_experiment
from sbo_jax.experiments.process import folder_of, train_cell_without_test, write_result
from sbo_jax.experiments.search import run
from sbo_jax.experiments.search.command import SearchConfig, search
from sbo_jax.experiments.search.file import read_search
from sbo_jax.experiments.search.report import _toml
from sbo_jax.runs.config import TrainConfig

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
import benchmark

ROOT = Path(__file__).parents[1]

GOOD = """
title = "Rates"
trials = 12
seeds = [3, 4]
split_per_seed = true
sampler_seed = 5
[shared]
task = "adding"
hidden = 4
[search]
solver = ["sgd", "nesterov"]
upper_rate = {low = 1e-4, high = 3e-2, log = true}
weight_decay = {low = 0, high = 1}
length = {low = 5, high = 9}
"""


def written(tmp_path, text):
    path = tmp_path / "some.toml"
    path.write_text(text)
    return path


def test_a_file_says_what_may_be_chosen_and_what_all_runs_have(tmp_path):
    found = read_search(written(tmp_path, GOOD))
    assert found.space == {
        "solver": CategoricalDistribution(["sgd", "nesterov"]),
        "upper_rate": FloatDistribution(1e-4, 3e-2, log=True),
        "weight_decay": FloatDistribution(0.0, 1.0),  # a number, however its ends are written
        "length": IntDistribution(5, 9),
    }
    chosen = {"solver": "sgd", "upper_rate": 0.01, "weight_decay": 0.5, "length": 7}
    shared = {"task": "adding", "hidden": 4}
    assert [cell.config for cell in found.cells("a", chosen)] == [
        TrainConfig.of(**shared, **chosen, seed=seed, split_seed=seed) for seed in (3, 4)
    ]


MINIMAL = "trials = 1\n[search]\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# nothing", "empty file"),
        ("[search]\nhidden = [4]", "expected trials among the parts of a search"),
        ("trials = 0\n[search]\nhidden = [4]", "trials >= 1, got 0"),
        ("trials = 1.5\n[search]\nhidden = [4]", "trials = 1.5"),
        ("trials = 1\nseeds = []\n[search]\nhidden = [4]", "one seed or more"),
        ("trials = 1\nseeds = [1, 1]\n[search]\nhidden = [4]", "each once"),
        ("trials = 1\nseeds = [-1]\n[search]\nhidden = [4]", "0 <= seed"),
        ("trials = 1\nsampler_seed = -1\n[search]\nhidden = [4]", "0 <= sampler_seed"),
        ("trials = 1\nmatrix = {}\n[search]\nhidden = [4]", "parts of a search .*got matrix"),
        ("trials = 1", "options below .search., got none"),
        (MINIMAL + "hiden = [4]", "an option of scripts/train.py among .*'hiden'; did you mean"),
        (MINIMAL + "out = ['a']", "an option of scripts/train.py among .*'out'"),
        (MINIMAL + "seed = [1]", "seeds as a list at the top"),
        ("split_per_seed = true\n" + MINIMAL + "split_seed = [1, 2]", "split_seed has no effect"),
        (MINIMAL + "hidden = 4", "a list for hidden, .*got 4"),
        (MINIMAL + "hidden = []", "one value or more for hidden"),
        (MINIMAL + "hidden = [4, 4]", "each once"),
        (MINIMAL + "hidden = ['4']", "hidden = '4'"),
        (MINIMAL + "hidden = [4, 0]", "hidden >= 1, got 0"),
        (MINIMAL + "hidden = [1979-05-27]", "text or numbers for hidden"),
        (MINIMAL + "learn_hyper = [['eta', 'mu']]", '"eta,mu"'),
        (MINIMAL + "solver = ['sgd', 'adam']", "solver among .*'adam'"),
        (MINIMAL + "solver = {low = 1, high = 2}", "a list for solver, which is no number"),
        (MINIMAL + "refit = [true]", "refit has no effect in a search"),
        (MINIMAL + "hidden = {low = 4}", "expected high among the ends of hidden"),
        (MINIMAL + "hidden = {low = 4, high = 8, step = 2}", "ends of hidden .*got step"),
        (MINIMAL + "hidden = {low = 4, high = 8.5}", "hidden as a whole number, got 8.5"),
        (MINIMAL + "hidden = {low = 8, high = 8}", "low < high for hidden"),
        (MINIMAL + "hidden = {low = 0, high = 8}", "hidden >= 1, got 0"),
        (MINIMAL + "clip = {low = 1, high = inf}", "finite low < high for clip"),
        (MINIMAL + "clip = {low = nan, high = 1}", "finite low < high for clip"),
        (MINIMAL + "weight_decay = {low = 0, high = 1, log = true}", "low > 0 for weight_decay"),
        (MINIMAL + "average = {low = 0.5, high = 1}", "0 <= average < 1, got 1"),
        (MINIMAL + "mu = [0.5]\nsolver = ['nesterov', 'sgd']", "--mu has no effect with"),
        (
            MINIMAL + "rank = [2, 8]\noperator = ['low_rank']\nhidden = [4, 8]",
            "rank of at most the 4 hidden",
        ),
        (MINIMAL + "hidden = [4]\n[shared]\nhidden = 4", "in shared or in search"),
        (
            MINIMAL + "hidden = [4]\n[shared]\nreport_test_epochs = true",
            "report_test_epochs has no",
        ),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, text, words):
    with pytest.raises(ValueError, match=words) as error:
        read_search(written(tmp_path, text))
    assert "some.toml" in str(error.value)


def test_searches_of_the_repository_can_be_read():
    files = list((ROOT / "scripts/experiments").glob("search_*.toml"))
    assert files
    for path in files:
        assert read_search(path).trials


def value(config):
    """What a run reaches: the better the nearer its rate is to 0.003, and sgd loses."""
    distance = abs(math.log(config.upper.upper_rate / 3e-3))
    return distance + (config.lower.solver == "sgd") + 0.01 * config.run.seed


def trained(cell):
    """What most runs come to; the exit code of their process."""
    folder_of(cell).mkdir(exist_ok=True)
    told = {"metric": "mse", "parameters": 1, "seconds": 0.5, "epochs": 2, "best_epoch": 1}
    write_result(cell, told | {"best_validation": value(cell.config)}, WHERE)
    return 0


def diverged(cell):
    folder_of(cell).mkdir(exist_ok=True)
    told = {"metric": "mse", "parameters": 1, "seconds": 0.5, "epochs": 2, "best_epoch": None}
    stopped = {"best_validation": None, "stopped": "the training loss became nan"}
    write_result(cell, told | stopped, WHERE)
    return 0


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Search what a text asks for, in a folder of its own or in this one."""
    monkeypatch.setattr(os, "fsync", lambda file: None)  # which takes most of the time

    def searched(text=GOOD, *, body=trained, out=tmp_path / "out", **options):
        monkeypatch.setattr(run, "run_all", inline(body))
        return search(SearchConfig(written(tmp_path, text), out=out, **options))

    return searched


def found(out):
    return json.loads((out / "search.json").read_text())


def chosen(out):
    """Options and values in the order of the trials."""
    trials = sorted(found(out)["trials"], key=lambda trial: trial["trial"])
    return [(trial["options"], trial["validation"]) for trial in trials]


def test_a_search_spends_its_budget_and_finds_what_is_better(work, tmp_path, capsys):
    out = tmp_path / "out"
    assert work() == 0
    trials = found(out)["trials"]
    assert sorted(trial["trial"] for trial in trials) == list(range(12))
    values = [statistics.mean(trial["validation"]) for trial in trials]
    assert values == sorted(values)
    for trial in trials:
        config = TrainConfig.of(**found(out)["shared"], **trial["options"])
        assert trial["validation"] == [value(config.changed(seed=seed)) for seed in (3, 4)]
    assert len(list((out / "cells").iterdir())) == 2 * 12
    said = (out / "search.md").read_text()
    assert (
        "12 of 12 trials, of which 0 diverged; each with seeds 3, 4 and a split of its own" in said
    )
    assert "no run looked at the test split" in said
    assert said in capsys.readouterr().out
    best = read_experiment(out / "best.toml").cells
    expected = TrainConfig.of(task="adding", hidden=4, **trials[0]["options"])
    drawn = [expected.changed(seed=seed, split_seed=seed) for seed in (3, 4)]
    assert [cell.config for cell in best] == drawn


def test_what_is_done_is_not_done_again_and_a_larger_budget_goes_on(work, tmp_path):
    out, count = tmp_path / "out", []
    assert work(GOOD.replace("12", "3")) == 0
    first = chosen(out)
    for name in ("search.md", "search.json", "best.toml"):
        (out / name).unlink()
    assert work(GOOD.replace("12", "3"), report=True) == 0
    assert chosen(out) == first
    assert work(body=lambda cell: count.append(cell) or trained(cell)) == 0
    assert len(count) == 2 * (12 - 3)
    assert chosen(out)[:3] == first
    other = tmp_path / "other"
    assert work(out=other) == 0
    assert chosen(other) == chosen(out)


class KilledError(Exception):
    """Ends the parent where it stands."""


def test_a_killed_search_goes_on_as_if_nothing_had_happened(work, tmp_path, rng, capsys):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert work(out=whole) == 0

    left = [int(rng.integers(6))]

    def body(cell):
        """The last run before a kill, one in six or fewer, may be done before anybody knows."""
        is_last, is_done = left[0] == 0, rng.integers(2) == 0
        left[0] = int(rng.integers(6)) if is_last else left[0] - 1
        if is_done or not is_last:
            trained(cell)
        if is_last:
            raise KilledError
        return 0

    for _ in range(4):
        work(body=body, out=out)
    assert work(out=out) == 0
    assert chosen(out) == chosen(whole)
    assert "KilledError" in capsys.readouterr().err


def test_a_trial_that_diverges_counts_comes_last_and_is_no_end(work, tmp_path):
    out = tmp_path / "out"

    def body(cell):
        is_unlucky = cell.config.lower.solver == "sgd" and cell.config.run.seed == 4
        return diverged(cell) if is_unlucky else trained(cell)

    assert work(body=body) == 0
    trials = found(out)["trials"]
    assert len(trials) == 12
    assert [bool(trial["diverged"]) for trial in trials] == sorted(
        trial["options"]["solver"] == "sgd" for trial in trials
    )
    assert trials[-1]["diverged"] == ["the training loss became nan"]
    assert "| diverged |" in (out / "search.md").read_text()


def test_where_all_trials_diverge_there_is_no_best_one(work, tmp_path):
    assert work(body=diverged) == 0
    assert len(found(tmp_path / "out")["trials"]) == 12
    assert not (tmp_path / "out/best.toml").exists()


def test_a_trial_whose_run_crashes_does_not_count_and_is_tried_again(work, tmp_path):
    out, calls = tmp_path / "out", []

    def body(cell):
        calls.append(cell.key)
        return 1 if len(calls) == 3 else trained(cell)

    assert work(body=body) == 1
    assert len(calls) == 2 * 12
    assert len(found(out)["trials"]) == 11
    assert work(body=body) == 0
    assert calls[24:] == [calls[2]]
    assert len(found(out)["trials"]) == 12


def test_equal_trials_are_trained_once(work, tmp_path):
    calls = []

    def body(cell):
        calls.append(cell.key)
        return trained(cell)

    text = 'trials = 5\n[shared]\nupper_rate = 0.01\n[search]\nsolver = ["sgd", "nesterov"]'
    assert work(text, body=body) == 0
    assert len(calls) == len(set(calls)) <= 2
    assert len(found(tmp_path / "out")["trials"]) == 5
    assert found(tmp_path / "out")["seconds"] == 0.5 * len(calls)


def refused(capsys, code):
    said = capsys.readouterr()
    assert code == 2
    (line,) = said.err.splitlines()
    return line


def test_a_folder_belongs_to_one_search_and_to_no_experiment(work, tmp_path, capsys):
    out = tmp_path / "out"
    assert work(GOOD.replace("12", "1")) == 0
    capsys.readouterr()
    other = GOOD.replace("hidden = 4", "hidden = 5")
    line = refused(capsys, work(other))
    assert "'hidden': 4} there and" in line
    assert "'hidden': 5} here" in line
    assert work(GOOD.replace("12", "2").replace("Rates", "Better rates")) == 0
    capsys.readouterr()
    (tmp_path / "x.toml").write_text("seeds = [0]")
    line = refused(
        capsys, benchmark.run_command_line(["run", f"{tmp_path}/x.toml", "--out", f"{out}"])
    )
    assert "got that of a search" in line
    (out / "journal.log").unlink()
    (out / "results.jsonl").unlink()  # as where no run has ended yet
    assert "got that of an experiment" in refused(capsys, work())


def test_a_damaged_journal_is_one_sentence(work, tmp_path, capsys):
    out = tmp_path / "out"
    assert work(GOOD.replace("12", "2")) == 0
    capsys.readouterr()
    journal = out / "journal.log"
    journal.write_text("{nothing\n" + journal.read_text())
    assert "journal.log" in refused(capsys, work())


def test_before_the_first_trial_there_is_nothing_to_report(work, tmp_path, capsys):
    assert work(report=True) == 0
    assert capsys.readouterr().out == "no trial is done yet\n"
    assert not (tmp_path / "out/journal.log").exists()


def test_without_optuna_the_command_says_how_to_get_it(work, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install -e '.[search]'" in refused(capsys, work())


def test_runs_of_a_search_are_those_without_test(tmp_path, monkeypatch):
    targets = []
    monkeypatch.setattr(run, "run_all", lambda jobs, target, **_: targets.append(target))
    assert search(SearchConfig(written(tmp_path, GOOD), out=tmp_path / "out")) == 0
    assert targets == [train_cell_without_test]


@given(st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans())
def test_a_value_in_toml_is_read_as_it_was(value):
    assert tomllib.loads(_toml("x", value)) == {"x": value}


REAL = """
trials = 2
[shared]
task = "adding"
length = 5
hidden = 4
batch_size = 640
epochs = 1
[search]
upper_rate = {low = 1e-3, high = 1e-2, log = true}
"""


@pytest.mark.slow
def test_no_run_of_a_search_reads_the_test_split(tmp_path):
    """Where that is a crash, a search ends well and an experiment does not."""
    out = tmp_path / "out"

    def sealed(*arguments):
        command = [sys.executable, ROOT / "tests/sealed_search.py", *arguments]
        return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)

    done = sealed("search", written(tmp_path, REAL), "--out", out, "--at-once", 2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(found(out)["trials"]) == 2
    for cell in (path for path in (out / "cells").iterdir() if path.is_dir()):
        assert "test" not in json.loads((cell / "summary.json").read_text())
        assert not (cell / "answers.npz").exists()
    looking = sealed("run", out / "best.toml", "--out", tmp_path / "best")
    assert looking.returncode == 1
    assert "the test split" in looking.stdout
