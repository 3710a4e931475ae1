"""Laws of the commands that use a trained run, `sbo-predict` and `sbo-evaluate`."""

import csv
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import own_data
import pyarrow as pa
import pyarrow.parquet
import pytest

import sbo_jax
from sbo_jax.devices.failures import in_one_sentence
from sbo_jax.runs import RunFolder, TrainConfig, prepare, train
from sbo_jax.trained.commands import evaluate, predict
from sbo_jax.trained.commands.output import Output

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(scope="module")
def gestures(tmp_path_factory):
    return own_data.write(tmp_path_factory.mktemp("data"))


def trained(description, out):
    options = {"hidden": 4, "epochs": 1, "batch_size": 16, "preset": "stable"}
    with RunFolder(out) as folder:
        config = TrainConfig.of(task="folder", folder=str(description), **options)
        train(prepare(config), folder)
    return str(out)


@pytest.fixture(scope="module")
def table_run(gestures, tmp_path_factory):
    """The folder of a run on the long table."""
    return trained(gestures / "table.toml", tmp_path_factory.mktemp("run") / "table")


@pytest.fixture(scope="module")
def steps_run(gestures, tmp_path_factory):
    """The folder of a run on a long table that labels every step."""
    lines = (gestures / "steps.csv").read_text().splitlines()
    labels = ["state", *(str(float(line.split(",")[2]) > 0.5) for line in lines[1:])]
    folder = tmp_path_factory.mktemp("steps")
    rows = [f"{line},{label}" for line, label in zip(lines, labels, strict=True)]
    (folder / "new.csv").write_text("\n".join(rows))
    keys = 'table = "new.csv"\nsequence = "run"\ntime = "t"\nper_step = true\nlabel = "state"\n'
    (folder / "dataset.toml").write_text(keys + 'features = ["x", "y", "z"]\n')
    return trained(folder, folder / "run")


@pytest.fixture
def answered(capfd):
    """Runs sbo-predict and returns its exit code, the rows of its CSV, and its standard error."""

    def run(*arguments):
        code = predict.run_command_line(list(map(str, arguments)))
        out, error = capfd.readouterr()
        return code, list(csv.DictReader(io.StringIO(out))), error

    return run


def test_every_sequence_has_a_row_that_python_would_answer(table_run, gestures, answered):
    code, rows, error = answered(table_run, gestures / "steps.csv")
    expected = sbo_jax.load(table_run).answers(gestures / "steps.csv")
    assert (code, error) == (0, "")
    assert [*rows[0]] == ["id", "answer", "probability"]
    assert [row["id"] for row in rows] == expected.ids
    assert [row["answer"] for row in rows] == expected.answers.tolist()
    found = [float(row["probability"]) for row in rows]
    np.testing.assert_array_equal(found, expected.probabilities.max(axis=1))


def test_every_step_has_a_row_with_its_time(steps_run, gestures, answered):
    code, rows, _ = answered(steps_run, gestures / "steps.csv")
    lines = (gestures / "steps.csv").read_text().splitlines()[1:]
    assert code == 0
    assert [*rows[0]] == ["id", "step", "time", "answer", "probability"]
    assert len(rows) == len(lines)
    for row, line in zip(rows, lines, strict=True):
        name, time, *_ = line.split(",")
        assert (row["id"], float(row["time"])) == (name, float(time))
        assert int(row["step"]) == round(float(time) * 50)


def test_parquet_holds_what_csv_holds(table_run, gestures, answered, tmp_path):
    _, rows, _ = answered(table_run, gestures / "steps.csv")
    for name in ("new.csv", "new.parquet"):
        code = predict.run_command_line([table_run, str(gestures), "--out", str(tmp_path / name)])
        assert code == 0
    code, _, _ = answered(table_run, gestures / "steps.csv", "--out", tmp_path / "a.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    assert [{k: str(v) for k, v in row.items()} for row in table.to_pylist()] == rows
    with (tmp_path / "new.csv").open() as file:
        other = pyarrow.parquet.read_table(tmp_path / "new.parquet").to_pylist()
        assert [{k: str(v) for k, v in row.items()} for row in other] == list(csv.DictReader(file))


def test_times_of_a_pipe_may_be_whole_at_first(tmp_path, rng):
    """Chunks have the type of their own times, and a file one for all."""
    chunks = [rng.integers(0, 99, 5000), rng.integers(0, 99, 3), rng.normal(size=4), np.arange(2)]
    with Output(tmp_path / "new.parquet") as output:
        for number, times in enumerate(chunks):
            output.write(pa.table({"id": [str(number)] * len(times), "time": times}))
    table = pyarrow.parquet.read_table(tmp_path / "new.parquet")
    np.testing.assert_array_equal(table["time"], np.concatenate(chunks))
    ids = np.repeat([*"0123"], list(map(len, chunks)))
    assert table["id"].to_pylist() == ids.tolist()
    assert os.listdir(tmp_path) == ["new.parquet"]


def test_a_file_that_is_there_is_kept_and_a_fault_leaves_none(
    table_run, gestures, answered, tmp_path
):
    (tmp_path / "old.csv").write_text("mine")
    code, _, error = answered(table_run, gestures / "steps.csv", "--out", tmp_path / "old.csv")
    assert (code, "expected a new file, got" in error) == (2, True)
    assert (tmp_path / "old.csv").read_text() == "mine"
    code, _, error = answered(table_run, gestures / "none.csv", "--out", tmp_path / "new.csv")
    assert (code, "found no such file" in error) == (2, True)
    assert answered(table_run, gestures, "--out", tmp_path / "new.txt")[0] == 2
    assert os.listdir(tmp_path) == ["old.csv"]


def test_a_pipe_is_answered_as_a_file_and_its_reader_may_leave(table_run, gestures, answered):
    _, rows, _ = answered(table_run, gestures / "steps.csv")
    command = [sys.executable, str(SCRIPTS / "predict.py"), table_run, "-"]
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS.parent)}
    text = (gestures / "steps.csv").read_bytes()
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment}
    done = subprocess.run(command, input=text, check=True, **options)
    found = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert [row["answer"] for row in found] == [row["answer"] for row in rows]
    with subprocess.Popen(command, stdin=subprocess.PIPE, **options) as left:
        left.stdout.close()
        left.stdin.write(text)
        left.stdin.close()
        assert left.stderr.read() == b""
        assert left.wait() == 128 + signal.SIGPIPE


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt, 130), (BrokenPipeError, 141), (ValueError("a"), 2)]
)
def test_a_command_ends_with_a_code_for_what_stopped_it(error, code, monkeypatch):
    def stopped():
        raise error

    monkeypatch.setattr(sys, "stdout", io.StringIO())  # which has no file to close
    assert in_one_sentence("a")(stopped)() == code


def test_an_evaluation_prints_scores_and_counts(table_run, steps_run, gestures, capsys):
    assert evaluate.run_command_line([table_run, str(gestures / "steps.csv")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("120 sequences: accuracy ")
    assert lines[2].split() == ["class", "precision", "recall", "F1", "support"]
    counts = [list(map(int, line.split()[1:])) for line in lines[-3:]]
    run = sbo_jax.load(table_run)
    found = run.predict(gestures / "steps.csv")
    labels = run.labelled_table(gestures / "steps.csv").labels
    for name, row in zip(run.classes, counts, strict=True):
        assert row == [np.sum((labels == name) & (found == other)) for other in run.classes]
    assert evaluate.run_command_line([steps_run, str(gestures / "steps.csv")]) == 2
    assert "t, x, y, z, state as in training" in capsys.readouterr().err
    assert evaluate.run_command_line([table_run]) == 2
    assert "expected a path of data" in capsys.readouterr().err
    assert evaluate.run_command_line([table_run, "-"]) == 2
    assert "got -, which predict alone reads" in capsys.readouterr().err
    assert evaluate.run_command_line([table_run, str(gestures / "recordings")]) == 2
    assert "got the folder" in capsys.readouterr().err
