"""A model card says what the folder of a run knows, and asks for what it does not."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sbo_jax.card import markdown, model_card
from sbo_jax.card.__main__ import run_command_line
from sbo_jax.devices import environment
from sbo_jax.runs import train_command
from sbo_jax.trained import TrainedRun, load


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on sequences of two people in ten, of which some are long and some have gaps."""
    rng, folder = np.random.default_rng(), tmp_path_factory.mktemp("data")
    rows = ["name,a,b|c,label,person"]
    for number in range(30):
        for _ in range(rng.integers(4, 8)):
            rows.append(f"s{number},{rng.normal()},,{'xy'[number % 2]},{number // 3}")
        rows.append(f"s{number},1,{rng.normal()},{'xy'[number % 2]},{number // 3}")
    (folder / "steps.csv").write_text("\n".join(rows))
    (folder / "dataset.toml").write_text(
        'table = "steps.csv"\nsequence = "name"\nlabel = "label"\ngroup = "person"\n'
        'missing = "carry"\nmax_length = 6\nkeep = "end"'
    )
    out = folder / "my_run"
    options = f"--task folder --folder {folder} --out {out} --hidden 4 --epochs 1".split()
    assert train_command.run_command_line(options) == 0
    return out


def read(path):
    return json.loads(path.read_text())


def test_the_card_of_a_run_has_its_facts_and_scores(trained):
    card, facts = model_card(load(trained)), read(trained / "config.json")["task"]
    summary = read(trained / "summary.json")
    assert "# my_run" in card
    assert "one of 2 classes: x, y." in card
    assert facts["sha256"] in card
    counts, people = facts["counts"], facts["held_out_groups"]["test"]
    assert f"| test | {counts['test']} | 0.2 of the groups | {', '.join(people)} |" in card
    assert f"| accuracy | {summary['best_validation']:.4g} | {summary['test']:.4g} |" in card
    assert f"| macro F1 |  | {summary['scores']['macro_f1']:.4g} |" in card
    assert f"{sum(map(sum, (facts['missing'][p]['gaps'] for p in counts))):,} gaps" in card
    assert (summary["commit"] or "") in card
    assert "`hidden = 4`" in card


def test_the_card_names_the_options_that_were_given_and_none_of_the_recipe(trained):
    card = model_card(load(trained))
    assert "the task's defaults: `task = folder`, `hidden = 4`, `epochs = 1`." in card


def test_the_card_asks_for_a_licence_and_names_no_place_on_this_machine(trained):
    card = model_card(load(trained))
    assert "license: unknown  # to be filled in" in card
    assert "## Licence\n\n*To be filled in" in card
    assert str(trained.parent) not in card


def test_the_card_has_the_table_of_classes_of_a_report(trained):
    report = trained / "report.md"
    kept = report.read_text() if report.exists() else None
    report.write_text("# Report\n\n## Classes\n\n| class | recall |\n\n## Mistakes\n\nmany\n")
    card = model_card(load(trained))
    report.unlink() if kept is None else report.write_text(kept)
    assert "| class | recall |" in card
    assert "many" not in card


def test_the_card_names_the_numbers_that_are_predicted(trained):
    content = json.loads((trained / "config.json").read_text())
    content["layout"] |= {"label": ["speed", "a|b"], "metric": "mse"}
    content["model"] |= {"metric": "mse", "out_features": 2}
    content["task"] |= {"classes": [], "target_mean": [0, 0], "target_std": [1, 1]}
    card = model_card(TrainedRun(load(trained).model, content))
    assert "predicts 2 numbers for every sequence: speed, a\\|b." in card


def test_the_card_says_in_which_splits_the_moments_are(trained):
    content = json.loads((trained / "config.json").read_text())
    run = load(trained)
    assert "| mean in training |" in model_card(TrainedRun(run.model, content))
    content["config"]["refit"] = True
    assert "| mean in training and validation |" in model_card(TrainedRun(run.model, content))


def test_a_run_without_a_summary_has_a_card_that_says_so(trained):
    run = load(trained)
    card = model_card(TrainedRun(run.model, run.content, None, run.place))
    assert "How training ended is not known: there is no summary.json" in card
    assert "Not known: there is no summary.json." in card
    assert "None" not in card


def test_the_card_of_a_run_that_was_never_validated_names_no_epoch_that_was_chosen(trained):
    run, summary = load(trained), read(trained / "summary.json")
    cut = {"epochs": 0, "ended": None, "best_validation": None, "test": None, "refit_steps": None}
    for how in ({"stopped": "interrupted"}, {}):  # an estimator that diverged says no reason
        card = model_card(TrainedRun(run.model, run.content, summary | cut | how, run.place))
        assert f"after 0 epochs: {how.get('stopped', 'it was cut short')}. No epoch was" in card
        assert "chosen" not in card


@pytest.mark.parametrize("name", ["a|b", "*a*", "_a_", "[a](b)", "<a>", "a\n# b", "`a`"])
def test_a_name_is_text_whatever_is_in_it(name):
    row = markdown.table(["name", "other"], [[markdown.plain(name), "x"]]).splitlines()[-1]
    assert row.replace("\\|", "").count("|") == 3
    assert markdown.plain(name).replace("\\", "") == name.replace("\n", " ")
    assert markdown.plain(name) != name


def test_the_command_writes_the_card_once(trained, tmp_path, capsys):
    out = tmp_path / "README.md"
    assert run_command_line([str(trained), "--out", str(out)]) == 0
    assert out.read_text() == model_card(load(trained))
    out.write_text("mine")
    assert run_command_line([str(trained), "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith("card: expected a new file for --out, got")
    assert out.read_text() == "mine"


def test_a_folder_without_a_run_is_one_sentence_and_code_2(tmp_path):
    command = [sys.executable, "-m", "sbo_jax.card", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("card: expected a run folder with a complete config.json, got")


def test_the_commit_is_that_of_this_source_and_not_of_a_tree_around_it(tmp_path, monkeypatch):
    def git(*arguments, folder):
        command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=b", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", folder=tmp_path)
    git("commit", "--allow-empty", "-m", "Begin", folder=tmp_path)
    source = tmp_path / "environment.py"
    source.write_text(Path(environment.__file__).read_text())
    monkeypatch.setattr(environment, "__file__", str(source))
    assert environment.commit() is None
    git("add", ".", folder=tmp_path)
    git("commit", "-m", "Keep", folder=tmp_path)
    assert environment.commit() == git("rev-parse", "--short", "HEAD", folder=tmp_path)
    source.write_text("")
    assert environment.commit() == git("rev-parse", "--short", "HEAD", folder=tmp_path) + "+"
