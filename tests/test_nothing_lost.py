"""What is on disk is whole, read as it was written, and written by one process at a time."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

import sbo_jax as sbo
from sbo_jax.disk.claims import claim_folder
from sbo_jax.disk.paths import local_path
from sbo_jax.disk.text import JsonLines
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.folder import arrays
from sbo_jax.runs.folder.arrays import CheckpointError
from sbo_jax.runs.folder.description import check_belongs, identity, read_config
from sbo_jax.runs.folder.run_folder import RunFolder
from sbo_jax.runs.preparation import prepare
from sbo_jax.runs.run import train
from sbo_jax.runs.train_command import run_command_line

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SIZES = {"task": "adding", "length": 6, "hidden": 4, "batch_size": 640, "epochs": 2}
ARGUMENTS = "--task adding --length 6 --hidden 4 --batch-size 640 --epochs 2".split()


def run(path):
    prepared = prepare(TrainConfig.of(**SIZES))
    with RunFolder(path, resume=True) as folder:
        return train(prepared, folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "whole"
    run(path)
    return path


@pytest.fixture
def copy(tmp_path, finished):
    return Path(shutil.copytree(finished, tmp_path / "run"))


def files(path):
    """Every file below `path` with its bytes, and every folder."""
    return {p.relative_to(path): p.read_bytes() if p.is_file() else None for p in path.rglob("*")}


def parameters(path):
    return [np.asarray(x) for x in jax.tree.leaves(nnx.state(sbo.load(path).model, nnx.Param))]


def flip(path, rng):
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    path.write_bytes(data)


# Damage that is not noticed.


def test_a_flipped_bit_in_what_load_reads_changes_no_number_or_is_refused(rng, copy):
    before, refused = parameters(copy), 0
    read = [copy / "config.json", *(p for p in (copy / "model").rglob("*") if p.is_file())]
    for path in [p for p in read if p.stat().st_size] * 2:
        whole = path.read_bytes()
        flip(path, rng)
        try:
            found = parameters(copy)
        except ValueError:
            refused += 1
        else:
            assert all(map(np.array_equal, found, before))
        path.write_bytes(whole)
    assert refused > 0


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("config", "solver", "sgd"),
        ("config", "activation", "sigmoid"),
        ("config", "hidden", 10**9),
        ("config", "eta", 0.5),
        ("model", "metric", "accuracy"),
        ("model", "out_features", 10**12),
        ("task", "name", "another"),
    ],
)
def test_a_configuration_that_was_edited_is_not_that_of_the_model(copy, part, name, value):
    content = json.loads((copy / "config.json").read_text())
    content[part][name] = value
    (copy / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"edited|complete config.json"):
        sbo.load(copy)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("epochs", 5, "epochs is 2 there and 5 here"),
        ("activation", "leaky_relu", "activation is None there and 'leaky_relu' here"),
        ("upper_rate", 0.3, "and 0.3 here"),
        ("seed", 7, "seed is 0 there and 7 here"),
    ],
)
def test_a_checkpoint_goes_on_in_its_own_configuration_alone(copy, capsys, name, value, words):
    described = (copy / "config.json").read_text()
    content = json.loads(described)
    content["config"][name] = value
    (copy / "config.json").write_text(json.dumps(content))
    before = {path: data for path, data in files(copy).items() if path.name != "config.json"}
    flag = ["--" + name.replace("_", "-"), str(value)]
    assert run_command_line([*ARGUMENTS, *flag, "--out", str(copy), "--resume"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    with pytest.raises(ValueError, match=r"put config\.json back as it was") as refused:
        sbo.load(copy)
    assert "put config.json back as it was" in line
    assert words in line
    assert words in str(refused.value)
    after = {path: data for path, data in files(copy).items() if path.name != "config.json"}
    assert after == before
    (copy / "config.json").write_text(described)
    assert run_command_line([*ARGUMENTS, "--out", str(copy), "--resume"]) == 0
    assert sbo.load(copy)


def test_a_record_that_names_no_field_is_compared_by_its_digest(finished):
    described = read_config(finished)
    digest = {"describes": identity(described)["describes"]}
    check_belongs(digest, described, "it")
    for record in ({}, {"describes": "another"}):
        with pytest.raises(ValueError, match="edited or belongs to another run; put"):
            check_belongs(record, described, "it")


def test_a_run_that_is_resumed_repairs_its_model_and_keeps_what_was_damaged(copy):
    before = parameters(copy)
    target = max((copy / "model").rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    target.write_bytes(b"x" + target.read_bytes()[1:])
    with pytest.raises(ValueError, match="--resume"):
        sbo.load(copy)
    run(copy)
    assert all(map(np.array_equal, parameters(copy), before))
    (aside,) = (copy / "damaged").iterdir()
    assert any(p.read_bytes()[:1] == b"x" for p in aside.rglob("*") if p.is_file())


def test_readers_make_nothing(copy):
    before = files(copy)
    sbo.load(copy)
    assert files(copy) == before
    shutil.rmtree(copy / "model")
    before = files(copy)
    with pytest.raises(ValueError, match="expected a run with a model in it"):
        sbo.load(copy)
    assert files(copy) == before
    with pytest.raises(ValueError, match=r"complete config\.json"):
        sbo.load(copy.parent / "other")
    assert os.listdir(copy.parent) == ["run"]


# What others keep in a run folder.


@pytest.mark.parametrize("place", ["", "model", "checkpoints", "model/{}", "checkpoints/{}"])
def test_what_others_keep_in_a_run_folder_is_left_alone_and_does_no_harm(copy, place):
    before, number = parameters(copy), max(p.name for p in (copy / "model").iterdir())
    theirs = copy / place.format(number)
    (theirs / ".DS_Store").write_bytes(b"x")
    (theirs / "._hidden").write_bytes(b"x")
    (theirs / "notes.txt").write_text("mine")
    (theirs / ".git").mkdir()
    (theirs / ".git/config").write_text("mine")
    (theirs / ".new.tmp").write_text("mine")
    if place == "model":
        (theirs / "20990101").mkdir()
        (theirs / "20990101/file").write_text("mine")
        (theirs / "99").write_text("mine")
    mine = {path: content for path, content in files(theirs).items() if content in (b"x", b"mine")}
    assert all(map(np.array_equal, parameters(copy), before))
    longer(copy)
    if "{}" not in place:
        after = files(theirs)
        assert {path: after.get(path) for path in mine} == mine
    assert all(map(np.array_equal, parameters(copy), before))
    assert not (copy / "damaged").exists()


def longer(path):
    """Go on from the first of the checkpoints, so that all of them are written anew."""
    numbers = sorted(p for p in (path / "checkpoints").iterdir() if p.name.isdigit())
    shutil.rmtree(numbers[-1])
    run(path)


def test_what_a_killed_process_left_of_a_model_is_removed(copy):
    left = copy / "model" / ".sbo_jax.new.tmp" / "best"
    left.mkdir(parents=True)
    longer(copy)
    assert [path.name for path in (copy / "model").iterdir() if path.name.startswith(".")] == []


# "Cannot read" is not "damaged".


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied"),
        OSError(5, "Input/output error"),
        OSError(24, "Too many open files"),
        MemoryError(),
        ValueError(
            "FAILED_PRECONDITION: Error reading x [OS error 24: EMFILE Too many open files]"
        ),
    ],
    ids=lambda error: type(error).__name__ + str(error)[:10],
)
def test_what_cannot_be_read_now_is_neither_damaged_nor_touched(copy, monkeypatch, error):
    def refuse(*args, **kwargs):
        raise error

    before = files(copy)
    with monkeypatch.context() as patched:
        patched.setattr(arrays.orbax.Checkpointer, "restore", refuse)
        with pytest.raises(CheckpointError, match="try again"):
            sbo.load(copy)
        with pytest.raises(CheckpointError, match="try again"):
            run(copy)
    assert files(copy) == before


@pytest.mark.parametrize("kept", ["metrics.jsonl", "model", "summary.json"])
def test_results_without_checkpoints_are_not_trained_over(copy, kept):
    for name in {"metrics.jsonl", "model", "summary.json", "checkpoints"} - {kept}:
        path = copy / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = {p: content for p, content in files(copy).items() if content is not None}
    with pytest.raises(CheckpointError, match="put them back"):
        run(copy)
    assert {p: content for p, content in files(copy).items() if content is not None} == before


# What is missing, damaged or in the way is named, with the way on.


def said(capsys, path, *options):
    """The sentence of a command that is refused."""
    assert run_command_line([*ARGUMENTS, "--out", str(path), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_finished_run_that_is_resumed_keeps_its_summary(copy):
    before = json.loads((copy / "summary.json").read_text())
    assert run(copy) == before
    assert json.loads((copy / "summary.json").read_text()) == before


def damage_checkpoints(path):
    for record in path.glob("checkpoints/*/record/*"):
        record.write_bytes(b"x")


@pytest.mark.filterwarnings("ignore:.*is damaged")
def test_a_model_outlives_its_checkpoints(copy, capsys):
    before = parameters(copy)
    damage_checkpoints(copy)
    line = said(capsys, copy, "--resume")
    assert "remove" not in line
    assert "keep it" in line
    assert "sbo_jax.load reads it" in line
    assert all(map(np.array_equal, parameters(copy), before))
    (copy / "model").rename(copy / "elsewhere")
    line = said(capsys, copy, "--resume")
    assert "remove" not in line
    assert "keep it" not in line


# The script, once for every folder: a process of its own, as pytest's warnings are errors.
RESUMES = """
import runpy, sys
script, *folders = sys.argv[1:]
for folder in folders:
    sys.argv = [script, *"{}".split(), "--resume", "--out", folder]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        assert not end.code
""".format(" ".join(ARGUMENTS))


def test_a_damaged_checkpoint_is_one_line_in_the_log(tmp_path, finished):
    copies = []
    for number, lost in enumerate(["record", "best", "state", "state/sha256.json"]):
        copies.append(Path(shutil.copytree(finished, tmp_path / str(number))))
        target = copies[-1] / "checkpoints" / newest(copies[-1]) / lost
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    command = [sys.executable, "-c", RESUMES, ROOT / "scripts/train.py", *copies]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if not line.startswith("epoch ")]
    for copy, line in zip(copies, told, strict=True):
        assert line.startswith(f"train.py: the checkpoint {copy}/checkpoints/")
        assert "is damaged" in line


def newest(path):
    return max(p.name for p in (path / "checkpoints").iterdir())


@pytest.mark.parametrize("option", [[], ["--resume"]])
@pytest.mark.parametrize("left", ["model", "checkpoints", "summary.json"])
def test_a_run_without_config_json_is_told_what_is_missing(copy, capsys, option, left):
    (copy / "config.json").unlink()
    for name in {"model", "checkpoints", "summary.json"} - {left}:
        (copy / name).rename(copy.parent / name)
    line = said(capsys, copy, *option)
    assert "expected config.json in the run folder" in line
    assert "put it back" in line
    assert "remove" not in line


def test_a_model_without_config_json_is_told_to_put_it_back(copy):
    (copy / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"put config\.json back"):
        sbo.load(copy)
    (copy / "config.json").unlink()
    with pytest.raises(ValueError, match=r"put config\.json back"):
        sbo.load(copy)


@pytest.mark.parametrize("in_the_way", [False, True])
def test_a_model_that_is_gone_comes_back_with_resume_as_load_says(copy, capsys, in_the_way):
    before = parameters(copy)
    shutil.rmtree(copy / "model")
    if in_the_way:
        (copy / "model").write_text("mine")
        line = said(capsys, copy, "--resume")
        assert "got the file" in line
        assert "move it away, and --resume goes on" in line
        with pytest.raises(ValueError, match="model is a file; move it away"):
            sbo.load(copy)
        (copy / "model").unlink()
    with pytest.raises(ValueError, match="--resume writes it anew"):
        sbo.load(copy)
    assert run_command_line([*ARGUMENTS, "--out", str(copy), "--resume"]) == 0
    assert all(map(np.array_equal, parameters(copy), before))


def test_a_copy_without_checkpoints_is_not_sent_to_resume(copy):
    shutil.rmtree(copy / "checkpoints")
    for path in (copy / "model").glob("*/record/*"):
        path.write_bytes(b"x")
    with pytest.raises(ValueError, match="copy model/ anew"):
        sbo.load(copy)
    shutil.rmtree(copy / "model")
    with pytest.raises(ValueError, match="none yet"):
        sbo.load(copy)


def test_a_file_in_place_of_a_folder_is_called_one(copy, capsys):
    link = copy.parent / "link"
    link.symlink_to(copy.parent / "nothing")
    assert "a link to what is not there; choose another one with --out" in said(capsys, link)
    line = said(capsys, copy / "config.json")
    assert "expected a folder" in line
    assert "a file; choose another one with --out" in line
    shutil.rmtree(copy / "checkpoints")
    (copy / "checkpoints").write_text("mine")
    assert "got the file" in (line := said(capsys, copy, "--resume"))
    assert "put the folder back as it was, or choose another one with --out" in line


SWEEP = {"sweep": {"task": "digits"}, "model": {}, "task": {}}


def test_a_sweep_is_not_taken_for_a_run(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(SWEEP))
    assert "got that of a sweep" in said(capsys, tmp_path, "--resume")
    with pytest.raises(ValueError, match="got that of a sweep"):
        sbo.load(tmp_path)


# A folder is held.

HOLDER = """
import sys, time
from sbo_jax.disk.claims import claim_folder
claim = claim_folder(__import__("pathlib").Path(sys.argv[1]))
print("held", flush=True)
time.sleep(100)
"""


def test_a_claim_keeps_others_out_and_ends_with_its_process_however_that_dies(tmp_path):
    folder = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder], stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"process {holder.pid}"):
            RunFolder(folder)
        holder.send_signal(signal.SIGKILL)
    RunFolder(folder).close()
    assert not folder.exists() or not os.listdir(folder)


def test_a_claim_that_was_released_is_anybodys(tmp_path):
    for _ in range(3):
        claim_folder(tmp_path / "run").release()
        assert not (tmp_path / "run").exists()


def test_what_is_held_is_refused_before_data_are_read(tmp_path, capsys):
    with RunFolder(tmp_path / "run"):
        before = files(tmp_path)
        assert run_command_line([*ARGUMENTS, "--resume", "--out", str(tmp_path / "run")]) == 2
        assert "held by process" in capsys.readouterr().err
        assert files(tmp_path) == before


def test_lines_have_one_writer(tmp_path):
    with (
        JsonLines(tmp_path / "a.jsonl"),
        pytest.raises(ValueError, match="held by"),
        JsonLines(tmp_path / "a.jsonl"),
    ):
        pass
    assert os.listdir(tmp_path) == []


def test_two_starts_in_one_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with RunFolder.new("adding") as first, RunFolder.new("adding") as second:
        assert first.path != second.path


# Paths are what they look like.


@pytest.mark.parametrize("name", ["a[b]", "[a", "a]*", "what?", "a*", "ä ö", "a'b\"", "{x}", "%d"])
def test_a_model_is_read_back_whatever_its_path_is_called(tmp_path, monkeypatch, name, finished):
    monkeypatch.chdir(tmp_path)
    path = Path(shutil.copytree(finished, Path(name, "run")))
    assert all(map(np.array_equal, parameters(path), parameters(finished)))


def test_a_run_trains_under_a_path_of_patterns(tmp_path):
    path = tmp_path / "[a]*?" / "run"
    assert run_command_line([*ARGUMENTS, "--out", str(path)]) == 0
    assert parameters(path)
    assert os.listdir(tmp_path) == ["[a]*?"]


@pytest.mark.parametrize(
    "out",
    [
        "https://host/run",
        "ftp:/b/r",
        "~no such user/x",
        "a" * 256,
        "b\udcff",
        "c\nd",
        "back\\slash",
        "e\0f",
    ],
    ids=ascii,
)
def test_a_path_that_cannot_be_one_is_refused_before_anything_is_made(
    tmp_path, monkeypatch, capsys, out
):
    monkeypatch.chdir(tmp_path)
    assert run_command_line([*ARGUMENTS, "--out", out]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{Path(sys.argv[0]).name}: expected ")
    assert os.listdir(tmp_path) == []


def test_a_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path("~/a") == tmp_path / "a"
    with RunFolder("~/a") as folder:
        assert folder.path == tmp_path / "a"


def test_a_model_that_cannot_be_read_back_ends_the_run_with_a_sentence(tmp_path, monkeypatch):
    real = arrays.orbax.Checkpointer.restore

    def other(self, directory, *args, **kwargs):
        found = real(self, directory, *args, **kwargs)
        return {
            name: jax.tree.map(lambda x: x * 0 + 1, found[name]) for name in dict(found.items())
        }

    monkeypatch.setattr(arrays.orbax.Checkpointer, "restore", other)
    with pytest.raises(CheckpointError, match="model"):
        run(tmp_path / "run")


@pytest.mark.parametrize("option", ["folder", "raw_dir", "data_dir"])
def test_data_are_read_from_paths_on_this_machine_alone(option):
    task = "folder" if option == "folder" else "pixel_mnist"
    with pytest.raises(sbo.tasks.DataError, match="the address s3://bucket/x"):
        sbo.tasks.load(task, **{option: "s3://bucket/x"})
