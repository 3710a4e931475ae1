"""The columns of an experiment's table, one for each protocol, and the intervals in them."""

import json

import numpy as np
import pytest
from test_experiments import benchmark, line

from sbo_jax.experiments.process import told
from sbo_jax.experiments.report.files import write_report
from sbo_jax.experiments.report.protocols import joint_intervals
from sbo_jax.experiments.report.table import markdown
from sbo_jax.runs.test_split.answers import Answers, write_answers
from sbo_jax.runs.test_split.bootstrap import intervals

EVERYTHING = """
seeds = [0, 1]
[shared]
task = "digits"
train_fraction = 0.1
model = "rnn"
hidden = 4
epochs = 2
[[rows]]
name = "plain"
[[rows]]
name = "all"
refit = true
report_test_epochs = true
"""


def answered(rng, folder, of_cell, name="answers.npz", unit="sample", targets=None):
    """Answers of two classes in the folder of a cell."""
    targets = rng.integers(2, size=90) if targets is None else targets
    outputs = rng.dirichlet([1, 1], size=90)
    units = np.arange(90) // (1 if unit == "sample" else 10)
    path = folder / "cells" / of_cell["key"] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    answers = Answers("accuracy", targets, outputs.astype(np.float32), units, unit)
    write_answers(path, answers)
    return answers


def test_a_line_of_progress_says_which_model_was_tested():
    of_run = {"metric": "accuracy", "test": 0.75, "seconds": 1.5}
    assert told(of_run | {"chosen": None}) == "accuracy: test 0.75, 1.5 s"
    said = told(of_run | {"chosen": {"test": 0.5}})
    assert said == "accuracy: test 0.5; test 0.75 after the refit, 1.5 s"


def test_a_refit_and_the_best_test_epoch_have_columns_of_their_own():
    chosen = {"refit_steps": 9, "chosen": {"test": 0.5}, "best_test": 0.875}
    text = markdown("T", "x.toml", [line("a", 0.75, **chosen), line("b", 0.25)], planned=2)
    assert "best test epoch, as the paper's release chooses; decides nothing |" in text
    assert "| a | 1 | 50.0 % | 75.0 % | 87.5 % | 99 [1] |" in text
    assert "| b | 1 | 25.0 % |  |  | 99 [1] |" in text
    plain = markdown("T", "x.toml", [line("b", 0.25)], planned=1)
    assert "best test epoch" not in plain
    assert "refit" not in plain


def test_intervals_of_a_row_are_joint_over_its_seeds(rng, tmp_path):
    lines = [line("a", 0.5), line("a", 0.75, seed=1)]
    first = answered(rng, tmp_path, lines[0])
    assert joint_intervals(tmp_path, lines) == {}  # one seed has no answers
    second = answered(rng, tmp_path, lines[1], targets=first.targets)
    found = joint_intervals(tmp_path, lines)
    assert found == {
        "test": intervals([first, second]),
        "resampled": {"unit": "sample", "count": 90},
    }
    write_report(tmp_path, "T", "x.toml", lines, planned=2)
    low, high = (f"{100 * end:.1f} %" for end in found["test"]["accuracy"])
    text = (tmp_path / "report.md").read_text()
    assert f"62.5 ± 17.7 % [{low} to {high}]" in text
    assert "of 90 samples of the test split" in text
    (row,) = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert row["intervals"]["test"]["accuracy"] == pytest.approx(found["test"]["accuracy"])
    answered(rng, tmp_path, lines[1], targets=1 - first.targets)
    assert joint_intervals(tmp_path, lines) == {}  # seeds with test splits of their own


def test_a_table_warns_of_intervals_over_few_groups(rng, tmp_path):
    of_cell = line("a", 0.5)
    answered(rng, tmp_path, of_cell, unit="group")
    text = write_report(tmp_path, "T", "x.toml", [of_cell], planned=1)
    assert "of 9 groups of the test split" in text
    assert "too narrow" in text


def test_one_file_gives_all_protocols_and_trains_what_validation_chose_once(tmp_path):
    (tmp_path / "all.toml").write_text(EVERYTHING)
    out = tmp_path / "out"
    process = benchmark(tmp_path / "all.toml", "--out", out)
    said, stderr = process.communicate(timeout=500)
    assert process.returncode == 0, said + stderr
    plain, row = json.loads((out / "report.json").read_text())["rows"]
    assert (plain["refit"], plain["best_test"]) == ([], [])
    assert (plain["network"], plain["model"]) == ("plain", "rnn")
    assert plain["task"] == {"name": "digits", "train_fraction": 0.1}
    for curve in plain["curves"]:
        assert len(curve["seconds"]) == len(curve["steps"])
    for summary in out.glob("cells/*/summary.json"):
        found = json.loads(summary.read_text())
        if found["refit_steps"] is None:
            continue
        seed = row["seeds"].index(found["seed"])
        tested = [row[name][seed] for name in ("test", "refit", "best_test")]
        assert tested == [found["chosen"]["test"], found["test"], found["best_test"]]
        assert found["best_test"] >= found["chosen"]["test"]
        epochs = (summary.parent / "metrics.jsonl").read_text().splitlines()
        assert len(epochs) == 2
    for protocol in ("test", "refit"):
        low, high = row["intervals"][protocol]["accuracy"]
        assert low <= np.mean(row[protocol]) <= high
