"""Experiment files: what they ask for, what is refused, and a run as a user meets it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from sbo_jax import plots
from sbo_jax.devices.environment import environment
from sbo_jax.experiments.file import read_experiment
from sbo_jax.experiments.pick import reported_cells, selected_cells, trial_cells
from sbo_jax.experiments.process import train_in_folder, write_result
from sbo_jax.experiments.report.files import write_report
from sbo_jax.experiments.report.table import markdown, rows
from sbo_jax.experiments.results import Results, read_lines
from sbo_jax.experiments.run import RunConfig, run
from sbo_jax.experiments.variant import Variant
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.folder.description import FORMAT
from sbo_jax.training.objectives import ACCURACY

ROOT = Path(__file__).parents[1]

GOOD = """
title = "Two by two by two"
seeds = [3, 4]
[shared]
task = "adding"
hidden = 4
[matrix]
solver = ["sgd", "nesterov"]
[[rows]]
name = "short"
length = 5
[[rows]]
length = 9
eta = 1
"""


def experiment(tmp_path, text):
    path = tmp_path / "some.toml"
    path.write_text(text)
    return read_experiment(path)


def test_every_row_combination_and_seed_is_a_cell(tmp_path):
    found = experiment(tmp_path, GOOD)
    assert found.title == "Two by two by two"
    names = ["short, sgd", "short, nesterov", "length 9, eta 1, sgd", "length 9, eta 1, nesterov"]
    assert [cell.name for cell in found.cells] == [name for name in names for _ in range(2)]
    assert found.cells[5].config == TrainConfig.of(
        task="adding", hidden=4, solver="sgd", length=9, eta=1.0, seed=4
    )
    assert len({cell.key for cell in found.cells}) == 8


def test_seeds_may_split_the_data_anew(tmp_path):
    found = experiment(tmp_path, "split_per_seed = true" + GOOD)
    drawn = [(cell.config.run.seed, cell.config.data.split_seed) for cell in found.cells]
    assert drawn == 4 * [(3, 3), (4, 4)]
    with pytest.raises(ValueError, match="split_seed has no effect with split_per_seed"):
        experiment(tmp_path, f"split_per_seed = true\n{GOOD}split_seed = 3")


def test_a_key_is_a_function_of_what_is_computed_alone(tmp_path):
    first = experiment(tmp_path, 'title = "a"\n[shared]\nhidden = 4\neta = 0.5')
    second = experiment(tmp_path, '[[rows]]\nname = "b"\neta = 0.5\nhidden = 4')
    third = experiment(tmp_path, "[shared]\nhidden = 4\neta = 0.25")
    assert first.cells[0].key == second.cells[0].key != third.cells[0].key
    written_out = experiment(tmp_path, "[shared]\nhidden = 4\neta = 0.5\nclip = 1.0")
    assert written_out.cells[0].key == first.cells[0].key


@pytest.mark.parametrize(
    ("said", "default"),
    [
        ('solver = "heavy_ball"\noperator = "dense"\nhidden = 128', ""),
        ('preset = "paper"\noperator = "low_rank"\nsolver = "sgd"', 'preset = "paper"'),
        ('task = "adding"\nlength = 100', 'task = "adding"'),
        ('task = "folder"\nfolder = "own"\nhidden = 64', 'task = "folder"\nfolder = "own"'),
    ],
)
def test_what_a_run_would_have_anyway_makes_no_other_run(said, default, tmp_path):
    short, long = (
        experiment(tmp_path, f"seeds = [0]\n[shared]\n{options}") for options in (default, said)
    )
    assert short.cells[0].key == long.cells[0].key
    other = experiment(
        tmp_path, f"seeds = [0]\n[shared]\n{default}\nrank = 3\noperator = 'low_rank'"
    )
    assert other.cells[0].key != short.cells[0].key
    with pytest.raises(ValueError, match="expected rows that differ, got 'a' and 'b'"):
        experiment(tmp_path, f"[[rows]]\nname = 'a'\n{said}\n[[rows]]\nname = 'b'\n{default}")


def test_an_empty_file_asks_for_nothing_and_is_refused(tmp_path):
    with pytest.raises(ValueError, match="got an empty file"):
        experiment(tmp_path, "# seeds = [1]")


def test_what_a_file_does_not_name_is_the_default_run(tmp_path):
    found = experiment(tmp_path, "seeds = [0]")
    assert [(cell.name, cell.row) for cell in found.cells] == [("default", "default")]
    assert found.cells[0].config == TrainConfig()
    assert found.title == "some"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seeds = [", "some.toml"),
        ("sedes = [1]", "sedes"),
        ("seeds = [1.5]", "seeds"),
        ("[shared]\nhiden = 4", r"\(task, .*hidden.*got hiden"),
        ('[shared]\nhidden = "4"', "hidden = '4'.*int"),
        ('[shared]\npreset = "best"', "preset among stable, .*got 'best'"),
        ('[shared]\nmodel = "lsmt"', "model among sbo, .*got 'lsmt'; did you mean lstm"),
        ('[shared]\nsolver = "none"', "solver among sgd, heavy_ball, nesterov, got"),
        ("[shared]\ntrain_fraction = 3.0", "train_fraction <= 1, got 3"),
        ("[shared]\nlength = 5", "length 5 has no effect with the task digits"),
        ('[shared]\ntask = "folder"', "folder"),
        ("[shared]\nhyper_rate = inf", "finite hyper_rate > 0, got inf"),
        ('[shared]\nout = "here"', "got out"),
        ("[shared]\nhidden = 0", "hidden >= 1, got 0"),
        ("[matrix]\nhidden = 4", "a list for hidden"),
        ("[shared]\nhidden = 4\n[matrix]\nhidden = [8]", "hidden in the matrix or in shared, got"),
        ("[[rows]]\nhidden = 4\n[matrix]\nhidden = [8]", "hidden in the matrix or in a row, got"),
        (
            '[shared]\ntask = "folder"\nfolder = "x"\noperator = "low_rank"\nrank = 65',
            "between 1 and the 64 hidden features, got rank 65",
        ),
        ("seeds = [1, 1]", r"every seed once, got \[1, 1\]"),
        ('[[rows]]\nname = "a"\n[[rows]]\nname = "b"', "'a' and 'b'"),
        ("[[rows]]\nname = 3", "name"),
        ("seeds = []", "one run or more, got none"),
        ("[matrix]\nhidden = []", "one run or more, got none"),
        ("[shared]\nseed = 3", "seeds as a list at the top"),
        ('pick = "hidden"', "of the matrix, got hidden"),
        ('[[rows]]\nname = "a"\nhidden = 3\n[[rows]]\nname = "a"', "two rows of one name"),
        ('[matrix]\ntask = ["har2", "adding"]', "one metric, got accuracy of 'har2' and mse of"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, text, words):
    with pytest.raises(ValueError, match=words) as error:
        experiment(tmp_path, text)
    assert "some.toml" in str(error.value)


OF_FOLDERS = """
[shared]
task = "folder"
[matrix]
folder = ["{0}/classes", "{0}/numbers", "{0}/gone"]
"""


def test_own_data_of_different_metrics_are_refused_before_a_sample_is_read(tmp_path):
    for name in ("classes", "numbers"):
        (tmp_path / name).mkdir()
        described = 'inputs = "x.npy"\nlabels = "y.npy"\n'
        (tmp_path / name / "dataset.toml").write_text(described)
    assert len(experiment(tmp_path, OF_FOLDERS.format(tmp_path)).cells) == 3
    (tmp_path / "numbers" / "dataset.toml").write_text(described + 'metric = "mse"')
    with pytest.raises(ValueError, match=r"accuracy of '.*/classes' and mse of '.*/numbers'"):
        experiment(tmp_path, OF_FOLDERS.format(tmp_path))


def test_experiments_of_the_repository_can_be_read():
    files = list((ROOT / "scripts/experiments").glob("*.toml"))
    searches = {path for path in files if path.name.startswith("search_")}
    assert len(files) > len(searches)
    for path in set(files) - searches:
        assert read_experiment(path).cells


PICKED = """
seeds = [5, 6]
pick = "upper_rate"
[matrix]
upper_rate = [0.1, 0.2]
[[rows]]
name = "a"
[[rows]]
name = "b"
hidden = 4
"""


def test_an_option_is_picked_on_validation_with_the_first_seed_and_kept_for_the_others(tmp_path):
    found = experiment(tmp_path, PICKED)
    first = trial_cells(found)
    assert [(cell.row, cell.config.run.seed) for cell in first] == [("a", 5)] * 2 + [("b", 5)] * 2
    # What is best on test must not matter; the mean squared error is better where it is smaller.
    values = [(0.5, 0.1), (0.4, 0.9), (0.2, 0.2), (0.3, 0.1)]
    summaries = {
        cell.key: {"metric": "mse", "best_validation": validation, "test": test}
        for cell, (validation, test) in zip(first, values, strict=True)
    }
    assert [(cell.name, cell.config.run.seed) for cell in selected_cells(found, summaries)] == [
        ("a, upper_rate 0.2", 5),
        ("a, upper_rate 0.2", 6),
        ("b, upper_rate 0.1", 5),
        ("b, upper_rate 0.1", 6),
    ]
    summaries[first[1].key]["stopped"] = "the training loss became nan"
    assert selected_cells(found, summaries)[0].name == "a, upper_rate 0.1"
    del summaries[first[3].key]  # not tried yet
    assert {cell.row for cell in selected_cells(found, summaries)} == {"a"}
    cells, planned = reported_cells(found, summaries)
    assert ({cell.row for cell in cells}, planned) == ({"a"}, 4)
    for cell in first[2:]:
        summaries[cell.key] = {"metric": "mse", "stopped": "the training loss became nan"}
    assert reported_cells(found, summaries) == ([*selected_cells(found, summaries), *first[2:]], 4)


@pytest.mark.slow
def test_runs_at_once_share_the_cores_and_the_gpus_that_were_named():
    script = """
import os
from sbo_jax.experiments.pool import MachinePart
cores = os.sched_getaffinity(0)
for index in range(2):
    os.sched_setaffinity(0, cores)
    os.environ["CUDA_VISIBLE_DEVICES"] = "3,5,7"
    MachinePart(index, 2).take()
    print(sorted(os.sched_getaffinity(0)), os.environ["CUDA_VISIBLE_DEVICES"])
"""
    owned = subprocess.check_output([sys.executable, "-c", script], text=True)
    cores = sorted(os.sched_getaffinity(0))
    assert owned.splitlines() == [f"{cores[0::2]} 3,7", f"{cores[1::2] or cores} 5"]


def line(name, test, seconds=1.0, seed=0, **summary):
    whole = {"metric": "accuracy", "test": test, "best_validation": test, "parameters": 1234}
    whole |= {"model": "lstm"}
    where = {"commit": "abc", "device": "cpu", "platform": "here", "versions": {"jax": "1"}}
    summary = whole | {"seconds": seconds, "epochs": 4} | summary
    told = {"name": name, "key": f"{name}-{seed}", "seed": seed, "published": "99 [1]"}
    told |= {"network": name[:1], "task": Variant("har2", train_fraction=0.5)}
    return told | {"summary": summary, "environment": where}


def test_the_table_has_mean_and_deviation_over_seeds_and_counts_those_that_diverged():
    lines = [line("a", 0.5), line("b", 0.25), line("a", 0.75, seconds=3.0)]
    stopped = {"stopped": "the training loss became nan", "epochs": 0}
    lines += [line("b", None, seconds=9.0, **stopped), line("c", None, **stopped)]
    assert [row.name for row in rows(lines)] == ["a", "b", "c"]
    text = markdown("Title", "x.toml", lines, planned=6)
    assert "5 of 6 runs" in text
    assert "| a | 2 | 62.5 ± 17.7 % | 99 [1] | 62.5 ± 17.7 % | 1,234 | 2 | 0.5 |" in text
    assert "| b | 1, and 1 that diverged | 25.0 % | 99 [1] | 25.0 % | 1,234 | 1 | 0.2 |" in text
    assert "| c | 0, and 1 that diverged |  | 99 [1] |  | 1,234 |  |  |" in text


def test_names_cannot_break_the_table():
    text = markdown("Title", "x.toml", [line("a | *b*", 0.5) | {"published": "1 | 2"}], planned=1)
    assert "| a \\| \\*b\\* | 1 | 50.0 % | 1 \\| 2 | 50.0 % |" in text


def with_curve(folder, line, values, **learned):
    path = folder / "cells" / line["key"] / "metrics.jsonl"
    path.parent.mkdir(parents=True)
    epochs = [{"epoch": i, "step": 5 * i, "validation": v} for i, v in enumerate(values, 1)]
    for name, column in learned.items():
        epochs = [epoch | {name: value} for epoch, value in zip(epochs, column, strict=True)]
    path.write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
    return path


def test_a_figure_can_be_redrawn_from_one_file(tmp_path):
    lines = [line("a", 0.5), line("b", 0.25), line("a", 0.75, seed=1, best_validation=0.9)]
    lines.append(line("b", None, seed=1, stopped="the training loss became nan"))
    lines[1]["environment"]["commit"] = "abd"
    with_curve(tmp_path, lines[0], [0.1, 0.2, 0.3, 0.4])
    with_curve(tmp_path, lines[2], [0.5, 0.6, float("nan"), 0.8])
    with_curve(tmp_path, lines[3], [0.1, 0.1, 0.1, 0.1])
    write_report(tmp_path, "Title", "x.toml", lines, planned=6)
    told = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    table = told.pop("rows")
    assert told == {
        "title": "Title",
        "metric": "accuracy",
        "commits": ["abc", "abd"],
        "device": "cpu",
        "platform": "here",
        "versions": {"jax": "1"},
    }
    steps = [5, 10, 15, 20]
    assert table[0] == {
        "name": "a",
        "network": "a",
        "model": "lstm",
        "task": {"name": "har2", "train_fraction": 0.5},
        "published": "99 [1]",
        "parameters": 1234,
        "seeds": [0, 1],
        "test": [0.5, 0.75],
        "refit": [],
        "best_test": [],
        "intervals": {},
        "validation": [0.5, 0.9],
        "diverged": [],
        "curves": [
            {"seed": 0, "steps": steps, "validation": [0.1, 0.2, 0.3, 0.4]},
            {"seed": 1, "steps": steps, "validation": [0.5, 0.6, None, 0.8]},
        ],
    }
    known = [table[1][name] for name in ("name", "seeds", "test", "diverged", "curves")]
    assert known == ["b", [0], [0.25], [1], []]
    plots.seed_curves({row["name"]: row["curves"] for row in table if row["curves"]}, ACCURACY)
    assert (tmp_path / "curves.png").stat().st_size > 1000


DAMAGED = {
    "gone": None,
    "half a line": '{"epoch": 1, "step"',
    "no line": "",
    "too few epochs": '{"step": 5, "validation": 0.5}\n',
    "another file": "[]\n" * 4,
    "no number": '{"step": 5, "validation": null}\n' * 4,
    "no text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_run_whose_folder_is_gone_or_damaged_has_no_curve_and_harms_no_other(tmp_path, content):
    lines = [line("a", 0.5), line("a", 0.75, seed=1)]
    with_curve(tmp_path, lines[0], [0.1, 0.2, 0.3, 0.4])
    path = with_curve(tmp_path, lines[1], [0.5, 0.6, 0.7, 0.8])
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    write_report(tmp_path, "Title", "x.toml", lines, planned=2)
    (row,) = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert row["seeds"] == [0, 1]
    assert [curve["seed"] for curve in row["curves"]] == [0]


TIMING = [{"epoch": epoch, "seconds": 0.5 * epoch} for epoch in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("timing", "seconds"),
    [
        (TIMING, [0.5, 1.0, 1.5, 2.0]),
        (None, None),
        (TIMING[1:], None),
        ([*TIMING, TIMING[0]], None),
        ([{"epoch": 1}] * 4, None),
    ],
)
def test_a_curve_has_seconds_where_they_are_known_of_every_epoch(tmp_path, timing, seconds):
    told = line("a", 0.5)
    path = with_curve(tmp_path, told, [0.1, 0.2, 0.3, 0.4])
    if timing is not None:
        written = "".join(json.dumps(epoch) + "\n" for epoch in timing)
        path.with_name("timing.jsonl").write_text(written)
    write_report(tmp_path, "Title", "x.toml", [told], planned=1)
    (row,) = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert row["curves"][0].get("seconds") == seconds


TASKS = [
    ("adding", {}, {"name": "adding", "length": 100}, "Adding, T = 100"),
    ("adding", {"length": 1500}, {"name": "adding", "length": 1500}, "Adding, T = 1,500"),
    ("ptb", {"length": 50}, {"name": "ptb"}, "Penn Treebank"),
    (
        "har2",
        {"train_fraction": 0.01},
        {"name": "har2", "train_fraction": 0.01},
        "HAR-2, 1 % of the training samples",
    ),
    ("digits", {"train_fraction": 1.0}, {"name": "digits"}, "Digits"),
    (
        "folder",
        {"folder": "archive/GunPoint"},
        {"name": "folder", "folder": "GunPoint"},
        "GunPoint",
    ),
    *(
        ("folder", {"folder": folder}, {"name": "folder", "folder": name}, name)
        for folder, name in (
            ("archive/GunPoint/dataset.toml", "GunPoint"),
            ("archive/GunPoint/second.toml", "second.toml"),
            ("dataset.toml", Path.cwd().name),
            (".", Path.cwd().name),
        )
    ),
]


@pytest.mark.parametrize(("task", "options", "told", "title"), TASKS)
def test_a_report_tells_tasks_apart_whose_numbers_cannot_be_compared(task, options, told, title):
    variant = Variant.of(TrainConfig.of(task=task, **options).data)
    assert json.loads(msgspec.json.encode(variant)) == told
    assert msgspec.convert(told, Variant) == variant
    assert variant.title == title


def test_learned_hyperparameters_are_kept_and_drawn(tmp_path):
    lines = [line("a", 0.5), line("b", 0.75)]
    with_curve(tmp_path, lines[0], [0.1, 0.2, 0.3, 0.4])
    with_curve(tmp_path, lines[1], [0.5, 0.6, 0.7, 0.8], eta=[1.0, 2.0, 3.0, 4.0], shift=[0.5] * 4)
    write_report(tmp_path, "Title", "x.toml", lines, planned=2)
    plain, learning = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert "learned" not in plain["curves"][0]
    told = learning["curves"][0]["learned"]
    assert told == {"eta": [1.0, 2.0, 3.0, 4.0], "shift": [0.5] * 4}
    assert (tmp_path / "learned.png").stat().st_size > 1000


def with_flow(folder, line, ratios):
    path = folder / "cells" / line["key"] / "gradient_flow.jsonl"
    steps = [{"epoch": i, "step": 5 * i, "ratio": ratio} for i, ratio in enumerate(ratios)]
    path.write_text("".join(json.dumps(step) + "\n" for step in steps))
    return path


def test_gradient_flows_are_kept_drawn_and_put_into_a_table(tmp_path):
    lines = [line("a", 0.5), line("b", 0.75), line("b", 0.75, seed=1)]
    for each in lines:
        with_curve(tmp_path, each, [0.1, 0.2, 0.3, 0.4])
    with_flow(tmp_path, lines[1], [2.0, 3.0, 40.0, 5.0, 6.0])
    with_flow(tmp_path, lines[2], [None, 3.0, 4.0, 5.0, 1e9])
    text = write_report(tmp_path, "Title", "x.toml", lines, planned=3)
    plain, measured = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert "gradient_flow" not in plain["curves"][0]
    told = [curve["gradient_flow"] for curve in measured["curves"]]
    steps = [0, 5, 10, 15, 20]
    assert told[0] == {"steps": steps, "ratio": [2.0, 3.0, 40.0, 5.0, 6.0]}
    assert told[1] == {"steps": steps, "ratio": [None, 3.0, 4.0, 5.0, 1e9]}
    assert "| b | 2 | 2 to infinite | 6 to 1e+09 | 40 to infinite |" in text
    assert (tmp_path / "flow.png").stat().st_size > 1000


@pytest.mark.parametrize("content", ["", '{"step": 0', '{"step": 0}\n', '{"ratio": 2}\n', "[]\n"])
def test_a_damaged_gradient_flow_is_left_out_and_its_run_is_not(tmp_path, content):
    told = line("a", 0.5)
    with_curve(tmp_path, told, [0.1, 0.2, 0.3, 0.4])
    with_flow(tmp_path, told, []).write_text(content)
    assert "dl/dh_t" not in write_report(tmp_path, "Title", "x.toml", [told], planned=1)
    (row,) = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert [sorted(curve) for curve in row["curves"]] == [["seed", "steps", "validation"]]
    assert not (tmp_path / "flow.png").exists()


def test_a_picture_that_cannot_be_drawn_costs_no_number(tmp_path, monkeypatch):
    def results(*_):
        raise RuntimeError("no picture")

    monkeypatch.setattr(plots, "results", results)
    with pytest.raises(RuntimeError, match="no picture"):
        write_report(tmp_path, "Title", "x.toml", [line("a", 0.5)], planned=1)
    assert (tmp_path / "report.md").read_text().startswith("# Title")
    assert json.loads((tmp_path / "report.json").read_text())["rows"]


def test_without_curves_there_is_no_figure_of_them(tmp_path):
    write_report(tmp_path, "Title", "x.toml", [line("a", 0.5)], planned=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "report.json",
        "report.md",
        "report.png",
    ]


def test_lines_that_a_killed_start_did_not_collect_are_collected(tmp_path, capsys):
    (cell,) = experiment(tmp_path, 'title = "t"\n[shared]\ntask = "adding"\nlength = 5').cells
    out = tmp_path / "out"
    folder = out / "cells" / cell.key
    folder.mkdir(parents=True)
    summary = line("default", 0.1)["summary"]
    write_result(cell._replace(config=cell.config.changed(out=folder)), summary, environment())
    assert run(RunConfig(next(tmp_path.glob("*.toml")), out=out)) == 0
    assert "1 of 1 runs" in capsys.readouterr().out
    assert [each["key"] for each in read_lines(out / "results.jsonl")] == [cell.key]


def test_a_cell_can_be_stopped_between_the_batches_of_an_evaluation(tmp_path):
    (cell,) = experiment(tmp_path, '[shared]\ntask = "adding"\nlength = 5').cells
    config = cell.config.changed(out=tmp_path / "run")

    def evaluating(prepared, folder, *watching, between_batches):
        between_batches()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            between_batches()
        return {"stopped": "interrupted"}

    assert train_in_folder(cell._replace(config=config), evaluating)


@pytest.mark.parametrize("number", [FORMAT - 1, FORMAT, None])
@pytest.mark.parametrize("name", ["results.jsonl", "cells/{key}/result.json"])
def test_results_count_in_the_format_that_they_or_their_run_state(tmp_path, name, number):
    (cell,) = experiment(tmp_path, "seeds = [0]").cells
    folder = tmp_path / "cells" / cell.key
    folder.mkdir(parents=True)
    write_result(cell._replace(config=cell.config.changed(out=folder)), {}, {})
    assert cell.key in Results(tmp_path, [cell]).lines
    line = json.loads((folder / "result.json").read_text())
    (folder / "result.json").rename(tmp_path / name.format(key=cell.key))

    def check(line, run):
        (tmp_path / name.format(key=cell.key)).write_text(json.dumps(line) + "\n")
        (folder / "config.json").write_text(json.dumps(run))
        if number == FORMAT:
            assert cell.key in Results(tmp_path, [cell]).lines
            return
        with pytest.raises(ValueError, match=f"results of format {FORMAT}, got {number} in .*json"):
            Results(tmp_path, [cell])

    check(line | {"format": number}, {})
    del line["format"]
    check(line, {"format": number})


TINY = """
[shared]
task = "adding"
length = 5
hidden = 4
batch_size = 640
epochs = 2
[[rows]]
name = "too large"
batch_size = 1000000
[[rows]]
name = "fine"
"""


def benchmark(*arguments, **options):
    command = [sys.executable, ROOT / "scripts/benchmark.py", "run", *arguments]
    return subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


@pytest.mark.slow
def test_a_cell_that_fails_loses_no_other_and_what_is_done_is_skipped(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    out = tmp_path / "out"
    first = benchmark(tmp_path / "tiny.toml", "--out", out, "--at-once", 2)
    said, _ = first.communicate(timeout=200)
    assert first.returncode == 1
    assert "[1/2] too large, seed 0: failed with exit code 1" in said
    assert "batch size between 1 and the 6400" in said
    assert "[2/2] fine, seed 0: mse: test" in said
    assert "1 of 2 runs" in (out / "report.md").read_text()
    for name in ("report.png", "curves.png"):
        assert (out / name).stat().st_size > 1000
    (row,) = json.loads((out / "report.json").read_text())["rows"]
    assert [curve["steps"] for curve in row["curves"]] == [[10, 20]]
    before = (out / "results.jsonl").read_text()
    assert [json.loads(line)["name"] for line in before.splitlines()] == ["fine"]
    (tmp_path / "tiny.toml").write_text(TINY.replace("1000000", "320"))
    second = benchmark(tmp_path / "tiny.toml", "--out", out)
    said, _ = second.communicate(timeout=200)
    assert second.returncode == 0
    assert "fine, seed 0: done before" in said
    assert (out / "results.jsonl").read_text().startswith(before)
    assert "2 of 2 runs" in (out / "report.md").read_text()
    (out / "report.md").unlink()
    (out / "report.md").mkdir()  # nothing can be written there
    third = benchmark(tmp_path / "tiny.toml", "--out", out, "--report")
    _, stderr = third.communicate(timeout=100)
    assert third.returncode == 2
    assert len(stderr.strip().splitlines()) == 1
    assert "report.md" in stderr


@pytest.mark.slow
def test_an_interrupted_cell_goes_on_where_it_stood(tmp_path):
    (tmp_path / "one.toml").write_text(TINY.replace("1000000", "64").replace("= 2", "= 1000"))
    out = tmp_path / "out"
    process = benchmark(tmp_path / "one.toml", "--out", out, start_new_session=True)
    deadline = time.monotonic() + 100
    while not list(out.glob("cells/*/metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    said, stderr = process.communicate(timeout=100)
    assert process.returncode == 128 + signal.SIGINT, stderr
    assert "[1/2] too large, seed 0: interrupted; the same command goes on" in said
    assert not (out / "results.jsonl").exists()
    assert list(out.glob("cells/*/checkpoints/*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["none.toml"], "none.toml"), (["{toml}", "--out", "/proc/nothere"], "nothere")],
)
def test_bad_input_is_one_sentence_and_code_2(tmp_path, arguments, words):
    (tmp_path / "a.toml").write_text("seeds = [0]")
    process = benchmark(*(argument.format(toml=tmp_path / "a.toml") for argument in arguments))
    said, stderr = process.communicate(timeout=100)
    assert (process.returncode, said) == (2, "")
    assert len(stderr.splitlines()) == 1
    assert words in stderr
