"""A command ends with a sentence and a code, whatever happens to it and wherever it is called."""

import errno
import json
import os
import shutil
import signal
import sys
import threading
import warnings
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import pytest

import sbo_jax as sbo
import sbo_jax.experiments.search.run
import sbo_jax.tasks.builders.records
from sbo_jax.devices.failures import in_one_sentence
from sbo_jax.disk import text
from sbo_jax.runs import progress, sweep_command
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.folder.checkpoints import Checkpoints
from sbo_jax.runs.folder.run_folder import RunFolder
from sbo_jax.runs.preparation import prepare
from sbo_jax.runs.run import train
from sbo_jax.runs.train_command import print_summary, run_command_line

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
import benchmark
import launch_local
import prepare_data

SIZES = {"task": "adding", "length": 6, "hidden": 4, "batch_size": 640, "epochs": 2}
ARGUMENTS = "--task adding --length 6 --hidden 4 --batch-size 640 --epochs 2".split()

ERRORS = [
    ValueError("expected a, got b\nand more"),
    OSError(errno.EACCES, "Permission denied", "/some/file"),
    OSError("a file without a number"),
    KeyError("x"),
    AttributeError("'NoneType' object has no attribute 'x'"),
    RecursionError("maximum recursion depth exceeded"),
    MemoryError(),
    jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.\n  more"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    AssertionError(),
    ExceptionGroup("several", [ValueError("a")]),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_a_command_raises_is_one_sentence_and_code_2(error, capsys, monkeypatch):
    @in_one_sentence("some.py")
    def command():
        raise error

    assert command() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("some.py: ")
    assert len(line) > len("some.py: ") + 10
    monkeypatch.setenv("SBO_TRACEBACK", "1")
    assert command() == 2
    printed = capsys.readouterr().err
    assert printed.splitlines()[-1] == line
    assert "raise error" in printed


def test_a_fault_of_our_own_is_called_one(capsys):
    @in_one_sentence()
    def command():
        return {}["x"]

    assert command() == 2
    assert "KeyError: 'x'; this is a fault of sbo_jax" in capsys.readouterr().err


def test_a_warning_is_one_line_that_begins_with_the_command():
    printed, before = [], warnings.formatwarning

    @in_one_sentence("some.py")
    def command():
        warning = UserWarning("what is\nunusual")
        printed.append(warnings.formatwarning(warning, UserWarning, "file.py", 1))
        return 0

    assert command() == 0
    assert printed == ["some.py: what is unusual\n"]
    assert warnings.formatwarning is before


SCRIPTS = {
    "train": (run_command_line, []),
    "sweep_eta": (sweep_command.run_command_line, []),
    "benchmark run": (benchmark.run_command_line, ["run", "some.toml"]),
    "benchmark search": (benchmark.run_command_line, ["search", "some.toml"]),
    "benchmark speed": (benchmark.run_command_line, ["speed"]),
    "benchmark choices": (benchmark.run_command_line, ["choices"]),
    "benchmark flow": (benchmark.run_command_line, ["flow"]),
    "benchmark relaxations": (benchmark.run_command_line, ["relaxations"]),
    "prepare_data": (prepare_data.run_command_line, ["mnist"]),
    "launch_local": (launch_local.run_command_line, ["2", "some.py"]),
}
INNER = {
    "train": ("sbo_jax.runs.train_command", "open_run"),
    "sweep_eta": ("sbo_jax.runs.sweep_command", "open_sweep"),
    "benchmark run": ("sbo_jax.experiments.run", "read_experiment"),
    "benchmark search": ("sbo_jax.experiments.search.run", "read_search"),
    "benchmark speed": ("sbo_jax.benchmarks.speed", "environment"),
    "benchmark choices": ("sbo_jax.benchmarks.choices", "environment"),
    "benchmark flow": ("sbo_jax.benchmarks.flow", "environment"),
    "benchmark relaxations": ("sbo_jax.benchmarks.relaxations", "environment"),
    "prepare_data": ("sbo_jax.tasks.builders.records", "prepared_builder"),
    "launch_local": ("launch_local", "launch"),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_has_the_net(name, capsys, monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise RuntimeError("what nobody foresaw")

    monkeypatch.chdir(tmp_path)
    module, function = INNER[name]
    monkeypatch.setattr(sys.modules[module], function, fail)
    command, arguments = SCRIPTS[name]
    assert command(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "RuntimeError: what nobody foresaw" in line


# Sizes.


@pytest.mark.parametrize(
    "arguments",
    [
        "--hidden 1000000000000",
        "--hidden 2000000000",
        "--model lstm --hidden 300000",
        "--layers 1000000",
        "--inner-steps 1000000000000000000",
        "--inner-steps 1000000000",
        "--inner-steps 1000000000 --rollout parallel --operator diagonal",
        "--epochs 1000000000000",
        "--batch-size 1000000000000",
        "--batch-size 2000000000",
        "--task adding --length 2000000000",
        "--task adding --length 1000000000000000",
    ],
)
def test_an_absurd_size_is_refused_before_anything_is_allocated(
    arguments, capsys, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    assert run_command_line(arguments.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected" in line
    assert list(tmp_path.glob("runs/*")) == []


@pytest.mark.parametrize("shape", ["1000000,1000000,10", "2,2,1000000"])
def test_an_absurd_benchmark_is_refused(shape, capsys):
    assert benchmark.run_command_line(["speed", "--shapes", shape]) == 2
    assert "of memory here" in capsys.readouterr().err


# A full disk.


def test_a_full_disk_is_one_sentence_that_names_the_place(tmp_path, capsys, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(9, 9, 0))
    assert run_command_line([*ARGUMENTS, "--out", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "No space left" in line
    assert str(tmp_path / "run") in line


def test_text_that_finds_no_room_names_its_file(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"a\.json"):
        text.replace_text(tmp_path / "a.json", "x")


def test_two_who_write_one_file_leave_a_whole_one(tmp_path):
    path, size = tmp_path / "a.json", 300_000

    def write(letter):
        for _ in range(50):
            text.replace_text(path, letter * size)

    with ThreadPoolExecutor() as pool:
        done = [pool.submit(write, letter) for letter in "ab"]
        while not all(each.done() for each in done):
            assert not path.exists() or path.read_text() in ("a" * size, "b" * size)
        assert [each.result() for each in done] == [None, None]
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


# Signals.


@pytest.mark.slow
def test_a_command_in_a_thread_trains(tmp_path):
    codes = []
    thread = threading.Thread(
        target=lambda: codes.append(run_command_line([*ARGUMENTS, "--out", str(tmp_path / "run")]))
    )
    thread.start()
    thread.join()
    assert codes == [0]
    assert sbo.load(tmp_path / "run")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "whole"
    with RunFolder(path) as folder:
        train(prepare(TrainConfig.of(**SIZES)), folder)
    return (path / "metrics.jsonl").read_text()


class StopBetween:
    """Raises KeyboardInterrupt at one of the batches of all evaluations, as a signal does."""

    def __init__(self, batch):
        self.left = batch

    def __call__(self):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


# 1000 validation samples are two batches after either epoch, and then 2000 of the test split four.
@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2, 4, 5, 8])
def test_an_evaluation_that_is_stopped_goes_on_as_if_it_never_was(tmp_path, batch, uninterrupted):
    with RunFolder(tmp_path / "run") as folder:
        stop = StopBetween(batch)
        summary = train(prepare(TrainConfig.of(**SIZES)), folder, between_batches=stop)
    assert summary["stopped"] == "interrupted"
    assert summary["epochs"] == min(2, (batch - 1) // 2)
    assert summary["test"] is None
    with RunFolder(tmp_path / "run", resume=True) as folder:
        summary = train(prepare(TrainConfig.of(**SIZES)), folder)
    assert summary["test"] is not None
    assert (tmp_path / "run/metrics.jsonl").read_text() == uninterrupted


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_test_evaluation_is_obeyed(tmp_path, number, monkeypatch, capsys):
    def test(prepared, best, between_batches, on_predictions):
        os.kill(os.getpid(), number)
        between_batches()

    monkeypatch.setattr(sys.modules["sbo_jax.runs.run"], "evaluate_on_test", test)
    assert run_command_line([*ARGUMENTS, "--out", str(tmp_path / "run")]) == 128 + number
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("stopped: interrupted; kept: epoch")
    assert last.endswith(f"; the same command with --out {tmp_path / 'run'} --resume goes on")


def test_a_diverged_run_is_not_sent_to_resume_and_a_place_can_be_typed(capsys):
    kept = dict.fromkeys(("task", "model", "parameters", "seconds", "best_epoch"))
    kept |= {"parameters": 1}
    print_summary("my run", kept | {"stopped": "the training loss became nan"})
    assert "resume" not in capsys.readouterr().out
    print_summary("my run", kept | {"stopped": "interrupted"})
    assert "with --out 'my run' --resume goes on" in capsys.readouterr().out


@pytest.mark.slow
def test_a_second_signal_during_a_save_is_one_line_and_loses_nothing(
    tmp_path, monkeypatch, capsys, uninterrupted
):
    out = ["--out", str(tmp_path / "run")]
    with monkeypatch.context() as patched:

        def interrupted(self):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTERM)

        patched.setattr(progress.Progress, "close", interrupted)
        assert run_command_line([*ARGUMENTS, *out]) == 128 + signal.SIGTERM
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    assert "--resume goes on" in printed.splitlines()[-1]
    assert run_command_line([*ARGUMENTS, *out, "--resume"]) == 0
    assert (tmp_path / "run/metrics.jsonl").read_text() == uninterrupted


@pytest.fixture
def begun_elsewhere(monkeypatch):
    """Every checkpoint is that of another machine."""
    real = Checkpoints.restore

    def restore(self, *args):
        found = real(self, *args)
        machine = {"machine": "8 devices in 2 processes"}
        return found and found._replace(record=found.record | machine)

    monkeypatch.setattr(Checkpoints, "restore", restore)


def one_run(path, *, mesh=None, stop=10**9):
    """Train where config.json says that it is on this mesh, up to this batch of an evaluation."""
    prepared = prepare(TrainConfig.of(**SIZES))
    if mesh:
        prepared = prepared._replace(config=prepared.config.changed(mesh=mesh))
    with RunFolder(path, resume=True) as folder:
        return train(prepared, folder, between_batches=StopBetween(stop))


def test_a_run_is_described_before_there_is_anything_to_go_on_from(tmp_path, monkeypatch):
    """Or one that is killed then could not be resumed."""

    def killed(*args):
        raise RuntimeError

    monkeypatch.setattr(Checkpoints, "restore", killed)
    with pytest.raises(RuntimeError):
        one_run(tmp_path, mesh="data=8")
    assert (tmp_path / "checkpoints").is_dir()
    assert mesh_of(tmp_path) == "data=8"


def mesh_of(path):
    return json.loads((path / "config.json").read_text())["config"]["mesh"]


def test_a_run_that_goes_on_with_other_devices_says_so(tmp_path, begun_elsewhere):
    assert "stopped" in one_run(tmp_path, mesh="data=8", stop=1)
    said = r"began with 8 devices in 2 processes and goes on with 1 device.*.* they differ"
    with pytest.warns(UserWarning, match=said):
        one_run(tmp_path)
    assert mesh_of(tmp_path) == "data=1"


@pytest.mark.parametrize("stop", [1, 10**9])
def test_a_finished_run_stays_that_of_the_devices_that_trained_it(tmp_path, begun_elsewhere, stop):
    """Warnings are errors; a stop is one while the test split is looked at once more."""
    one_run(tmp_path, mesh="data=8")
    summary = json.loads((tmp_path / "summary.json").read_text()) | {"device": "8 x other"}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    again = one_run(tmp_path, stop=stop)
    assert again["device"] == "8 x other" if stop > 1 else again["stopped"] == "interrupted"
    assert mesh_of(tmp_path) == "data=8"
    assert json.loads((tmp_path / "summary.json").read_text()) == summary


def test_the_summary_of_an_earlier_version_is_completed(tmp_path):
    whole = one_run(tmp_path)
    (tmp_path / "summary.json").write_text('{"task": "adding"}')
    assert one_run(tmp_path, stop=1)["stopped"] == "interrupted"
    assert (tmp_path / "summary.json").read_text() == '{"task": "adding"}'
    for written in (json.dumps({"task": "adding", "device": "8 x other"}), "{", "[]"):
        (tmp_path / "summary.json").write_text(written)
        assert one_run(tmp_path) == whole
        assert json.loads((tmp_path / "summary.json").read_text()) == whole
