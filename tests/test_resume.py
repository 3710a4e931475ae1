"""A run that was stopped, killed or damaged goes on as if nothing had happened."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from contextlib import closing
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

import sbo_jax as sbo
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.folder.arrays import CheckpointError
from sbo_jax.runs.folder.checkpoints import Checkpoint, Checkpoints
from sbo_jax.runs.folder.description import check_same_run, describe
from sbo_jax.runs.folder.run_folder import RunFolder
from sbo_jax.runs.preparation import prepare
from sbo_jax.runs.run import train
from sbo_jax.runs.train_command import run_command_line

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SAME = "--task adding --length 6 --hidden 4 --batch-size 640 --epochs 4".split()
SIZES = {"task": "adding", "length": 6, "hidden": 4, "batch_size": 640, "epochs": 4}


class StopAfter:
    """A reporter that interrupts once, as Ctrl-C does, after so many steps."""

    def __init__(self, steps):
        self.left = steps

    def step(self, step, loss):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def epoch(self, report):
        pass


def run(path, *stops, **changes):
    """Train in `path`, interrupted after each number of steps, until complete."""
    for stop in (*stops, 10**9):
        prepared = prepare(TrainConfig.of(**SIZES | changes))
        with RunFolder(path, resume=True) as folder:
            summary = train(prepared, folder, StopAfter(stop))
    return summary


def content(path):
    """What a run computed: its log and the bits of its model."""
    model = sbo.load(path).model
    leaves = [np.asarray(x).tobytes() for x in jax.tree.leaves(nnx.state(model, nnx.Param))]
    return (path / "metrics.jsonl").read_text(), leaves


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "whole"
    return run(path), content(path), path


def test_a_run_interrupted_anywhere_equals_one_that_never_was(rng, tmp_path, uninterrupted):
    expected_summary, expected, _ = uninterrupted
    stops = rng.integers(1, 15, size=3)
    summary = run(tmp_path / "run", *stops)
    assert content(tmp_path / "run") == expected
    for name in ("test", "best_epoch", "best_validation", "eta_max"):
        assert summary[name] == expected_summary[name]


@pytest.mark.parametrize("name", ["dropout", "variational_dropout"])
def test_dropout_goes_on_with_its_random_stream(tmp_path, name):
    changes = {"layers": 2, name: 0.5, "epochs": 2}
    run(tmp_path / "whole", **changes)
    run(tmp_path / "stopped", 13, **changes)
    assert content(tmp_path / "stopped") == content(tmp_path / "whole")


def test_an_average_goes_on_with_the_parameters_that_it_is_of(rng, tmp_path):
    changes = {"average": 0.9, "warmup": 0.3, "gradient_noise": 0.1, "jitter": 0.1, "epochs": 2}
    run(tmp_path / "whole", **changes)
    run(tmp_path / "stopped", int(rng.integers(1, 15)), **changes)
    assert content(tmp_path / "stopped") == content(tmp_path / "whole")


def test_a_finished_run_is_left_as_it_is(tmp_path, uninterrupted):
    _, expected, path = uninterrupted
    shutil.copytree(path, tmp_path / "run")
    run(tmp_path / "run")
    assert content(tmp_path / "run") == expected


def damage(path):
    """Flip one bit in the largest file below `path`: that of the arrays."""
    target = max((f for f in path.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    data = bytearray(target.read_bytes())
    data[len(data) // 2] ^= 1
    target.write_bytes(data)


def numbers_in(path):
    return sorted(int(p.name) for p in (path / "checkpoints").iterdir() if p.name.isdigit())


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, uninterrupted):
    _, expected, path = uninterrupted
    shutil.copytree(path, tmp_path / "run")
    newest = numbers_in(path)[-1]
    damage(tmp_path / "run/checkpoints" / str(newest))
    with pytest.warns(UserWarning, match=f"checkpoints/{newest} is damaged"):
        run(tmp_path / "run")
    assert content(tmp_path / "run") == expected
    assert newest in numbers_in(tmp_path / "run")


def test_any_flipped_bit_is_found(rng, tmp_path):
    state, best = ({"a": np.asarray(rng.normal(size=(50, 50)), np.float32)} for _ in range(2))
    with closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save(Checkpoint(state, best, {"x": 0.1}))
        checkpoints.wait()
    files = [f for f in (tmp_path / "checkpoints/1").rglob("*") if f.is_file()]
    read_back = 0
    for target in files:
        whole = target.read_bytes()
        if not whole:
            continue
        data = bytearray(whole)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        target.write_bytes(data)
        with warnings.catch_warnings(), closing(Checkpoints(tmp_path)) as checkpoints:
            warnings.simplefilter("ignore")
            try:
                found = checkpoints.restore(state, best)
            except CheckpointError:
                found = None
        if found is not None:  # the bit was one that nobody reads
            read_back += 1
            assert np.array_equal(found.state["a"], state["a"])
            assert np.array_equal(found.best["a"], best["a"])
            assert found.record == {"x": 0.1}
        target.write_bytes(whole)
    assert read_back < len(files)


def test_without_a_whole_checkpoint_nothing_is_overwritten(tmp_path, uninterrupted):
    path = tmp_path / "run"
    shutil.copytree(uninterrupted[2], path)
    for number in numbers_in(path):
        damage(path / "checkpoints" / str(number))
    before = content(path)
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(CheckpointError, match="whole, got none"),
    ):
        run(path)
    assert content(path) == before


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    with closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save(Checkpoint({"a": np.ones(3)}, {"a": np.ones(3)}, {}))
        checkpoints.wait()
        with pytest.raises(CheckpointError, match=r"of this model.*'b'"):
            checkpoints.restore({"a": np.ones(3), "b": np.ones(3)}, {"a": np.ones(3)})


def test_another_configuration_is_refused_field_by_field(uninterrupted):
    prepared = prepare(TrainConfig.of(**SIZES | {"hidden": 5, "upper_rate": 0.5}))
    described = describe(prepared.config, prepared.recipe, prepared.task)
    with pytest.raises(
        ValueError, match=r"hidden is 4 there and 5 here; upper_rate is .* 0.5 here"
    ):
        check_same_run(uninterrupted[2], described)


def test_a_run_that_an_earlier_version_began_goes_on(tmp_path, uninterrupted, monkeypatch):
    def earlier(*arguments):
        """config.json as of before there were these options."""
        described = describe(*arguments)
        older = described["config"].keys() - {"jitter", "average"}
        return described | {"config": {name: described["config"][name] for name in older}}

    prepared = prepare(TrainConfig.of(**SIZES))
    with monkeypatch.context() as patched, RunFolder(tmp_path / "run") as folder:
        patched.setattr("sbo_jax.runs.progress.describe", earlier)
        train(prepared, folder, StopAfter(7))
    check_same_run(folder.path, describe(prepared.config, prepared.recipe, prepared.task))
    changed = prepare(TrainConfig.of(**SIZES | {"jitter": 0.1, "average": 0.5}))
    described = describe(changed.config, changed.recipe, changed.task)
    with pytest.raises(ValueError, match=r"average is 0.0 there and 0.5 here; jitter is 0.0 there"):
        check_same_run(folder.path, described)
    assert sbo.load(folder.path).summary["stopped"]
    run(folder.path)
    assert content(folder.path) == uninterrupted[1]


def test_checkpoints_that_cannot_be_written_are_said_to_be(tmp_path, monkeypatch):
    with closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save(Checkpoint({"a": np.ones(3)}, {"a": np.ones(3)}, {}))
        checkpoints.wait()

        def full(*args, **kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(checkpoints._manager, "save", full)
        checkpoints.save(Checkpoint({"a": np.ones(3)}, {"a": np.ones(3)}, {}))
        with pytest.raises(CheckpointError, match="No space left"):
            checkpoints.wait()
    with closing(Checkpoints(tmp_path)) as checkpoints:
        assert checkpoints.restore({"a": np.ones(3)}, {"a": np.ones(3)}) is not None


def script(out, *arguments, **options):
    command = [sys.executable, ROOT / "scripts/train.py", "--out", out, "--resume", *arguments]
    return subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


ARGUMENTS = "--task adding --length 6 --hidden 4 --epochs 12 --batch-size 640".split()


def test_a_script_that_is_killed_and_preempted_equals_one_that_was_not(tmp_path):
    whole = script(tmp_path / "whole", *ARGUMENTS)
    whole.communicate(timeout=200)
    codes = []
    for number in (signal.SIGKILL, signal.SIGTERM):
        process = script(tmp_path / "run", *ARGUMENTS)
        seen = progress_of(tmp_path / "run")
        deadline = time.monotonic() + 100
        while progress_of(tmp_path / "run") == seen and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(random.random() / 5)
        process.send_signal(number)
        process.communicate(timeout=100)
        codes.append(process.returncode)
    end = script(tmp_path / "run", *ARGUMENTS)
    _, stderr = end.communicate(timeout=200)
    assert end.returncode == 0, stderr
    assert content(tmp_path / "run") == content(tmp_path / "whole")
    assert set(codes) <= {-signal.SIGKILL, 128 + signal.SIGTERM, 0}
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 13))


NUMBERS = ("train_loss", "validation_loss", "validation", "eta_max")
METRICS = {"epoch": 1, "step": 9} | dict.fromkeys(NUMBERS, 0.5)
TIMING = {"epoch": 1, "seconds": 0.5}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: "", "epochs 1 to"),
        (lambda text: text[5:], "lines of metrics"),
        (lambda text: "".join(text.splitlines(keepends=True)[1:]), "epochs 1 to"),
    ],
)
def test_a_history_that_was_edited_is_refused_when_a_run_goes_on(tmp_path, damage, words):
    with RunFolder(tmp_path / "run") as folder:
        for epoch in (1, 2, 3):
            folder.append_line("metrics.jsonl", METRICS | {"epoch": epoch})
        path = tmp_path / "run/metrics.jsonl"
        folder.cut(2)
        assert len(path.read_text().splitlines()) == 2
        path.write_text(damage(path.read_text()))
        with pytest.raises(CheckpointError, match=words):
            folder.cut(2)


@pytest.mark.parametrize("name", ["metrics.jsonl", "timing.jsonl"])
def test_a_history_that_is_no_text_is_refused_and_left_as_it_is(tmp_path, name):
    with RunFolder(tmp_path / "run") as folder:
        for each in ("metrics.jsonl", "timing.jsonl"):
            folder.append_line(each, METRICS if each == "metrics.jsonl" else TIMING)
        path = tmp_path / "run" / name
        damaged = path.read_bytes() + b"\xd7\xd9"
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=rf"expected text in .*{name}"):
            folder.cut(1)
        assert path.read_bytes() == damaged


def damaged_lines(line):
    """Without a key, and with a value of another type, for every key; then no object at all."""
    for name in line:
        yield {other: value for other, value in line.items() if other != name}
        yield line | {name: 0.5 if name in ("epoch", "step") else 10**400}
        for value in (
            "hi",
            True,
            [1.0],
            {},
            "1",
            float("inf"),
            float("nan"),
        ):
            yield line | {name: value}
    yield from ([], "hi", 1, None, {})


@pytest.mark.parametrize(
    ("name", "line"), [("metrics.jsonl", METRICS | {"measure": 0.5}), ("timing.jsonl", TIMING)]
)
def test_a_line_that_no_run_writes_is_refused_and_left_as_it_is(tmp_path, name, line):
    with RunFolder(tmp_path / "run") as folder:
        for epoch in (1, 2):
            folder.append_line("metrics.jsonl", METRICS | {"epoch": epoch})
        path, whole = tmp_path / "run" / name, json.dumps(line) + "\n"
        second = line | {"epoch": 2}
        path.write_text(whole + json.dumps(second))
        folder.cut(2)
        for damaged in damaged_lines(second):
            path.write_text(whole + json.dumps(damaged))
            before = path.read_bytes()
            with pytest.raises(CheckpointError, match=rf"{name}, got .* in line 2; put the file"):
                folder.cut(2)
            assert path.read_bytes() == before


def test_a_run_whose_metrics_were_edited_is_one_sentence(tmp_path, capsys, uninterrupted):
    path = Path(shutil.copytree(uninterrupted[2], tmp_path / "run"))
    lines = (path / "metrics.jsonl").read_text().splitlines()
    for damaged in ({"epoch": 2}, json.loads(lines[1]) | {"train_loss": "hi"}):
        text = "\n".join([lines[0], json.dumps(damaged), *lines[2:]])
        (path / "metrics.jsonl").write_text(text)
        assert run_command_line([*SAME, "--out", str(path), "--resume"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "in line 2; put the file back as it was" in line


def test_times_that_were_lost_are_not_missed(tmp_path, uninterrupted):
    path = Path(shutil.copytree(uninterrupted[2], tmp_path / "run"))
    for lost in (lambda lines: lines[2:], lambda lines: []):
        lines = (path / "timing.jsonl").read_text().splitlines(keepends=True)
        (path / "timing.jsonl").write_text("".join(lost(lines)))
        run(path)
        assert content(path) == uninterrupted[1]
    (path / "timing.jsonl").unlink()
    run(path)
    assert content(path) == uninterrupted[1]


def test_metadata_that_orbax_cannot_read_is_named_and_can_be_removed(tmp_path, uninterrupted):
    _, expected, whole = uninterrupted
    path = Path(shutil.copytree(whole, tmp_path / "run"))
    damaged = sorted(path.glob("checkpoints/*/_CHECKPOINT_METADATA"))
    for file in damaged:
        file.write_text('{"custom_metadata": {"a": 1}, "unknown": 2}')
    with pytest.raises(CheckpointError, match="remove the files _CHECKPOINT_METADATA"):
        run(path)
    for file in damaged:
        file.unlink()
    run(path)
    assert content(path) == expected


def progress_of(path):
    metrics = path / "metrics.jsonl"
    return metrics.read_text() if metrics.exists() else ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--resume", ["--out RUN"]),
        ("--resume --out {run} --hidden 5", ["hidden is 4 there and 5 here"]),
        ("--out {run}", ["not empty", "--resume"]),
        ("--resume --out {other}", ["not empty"]),
    ],
)
def test_resuming_the_wrong_thing_is_one_sentence_and_code_2(
    tmp_path, capsys, uninterrupted, arguments, words
):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("not a run")
    before = content(uninterrupted[2])
    text = " ".join(SAME) + " " + arguments.format(run=uninterrupted[2], other=tmp_path / "other")
    assert run_command_line(text.split()) == 2
    stderr = capsys.readouterr().err.strip()
    assert len(stderr.splitlines()) == 1
    for word in words:
        assert word in stderr
    assert content(uninterrupted[2]) == before
    assert os.listdir(tmp_path / "other") == ["file"]
