"""A run in a bucket, here a folder under another name, is the run on this machine."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

import sbo_jax as sbo
from sbo_jax.disk import buckets
from sbo_jax.runs.folder import run_folder as folders
from sbo_jax.runs.train_command import run_command_line
from sbo_jax.trained import loading

ARGUMENTS = "--task adding --length 6 --hidden 4 --batch-size 640".split()


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """The folder that stands for gs://bucket."""

    def fake(path):
        match = buckets._ADDRESS.fullmatch(str(path))
        return tmp_path / match[2] if match else None

    monkeypatch.setattr(folders, "bucket_path", fake)
    monkeypatch.setattr(loading, "bucket_path", fake)
    return tmp_path / "bucket"


def train(out, epochs=2, *more):
    return run_command_line([*ARGUMENTS, "--epochs", str(epochs), "--out", str(out), *more])


def parameters(place):
    return [np.asarray(x) for x in jax.tree.leaves(nnx.state(sbo.load(place).model, nnx.Param))]


def names(path):
    return {p.relative_to(path) for p in path.rglob("*") if p.is_file()}


def same(path, other):
    assert (path / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()
    assert all(map(np.array_equal, parameters(path), parameters(other)))


def test_a_bucket_holds_what_a_folder_would(bucket, tmp_path, capsys):
    assert train("gs://bucket/run") == 0
    assert capsys.readouterr().out.splitlines()[0] == str(bucket / "run")
    assert train(tmp_path / "run") == 0
    assert names(bucket / "run") == names(tmp_path / "run")
    same(bucket / "run", tmp_path / "run")
    assert all(map(np.array_equal, parameters("gs://bucket/run"), parameters(tmp_path / "run")))


def test_a_run_in_a_bucket_is_not_trained_over_and_goes_on(bucket, tmp_path, capsys):
    assert train("gs://bucket/run") == 0
    before = names(bucket / "run")
    assert train("gs://bucket/run") == 2
    assert "not empty" in capsys.readouterr().err
    shutil.rmtree(bucket / "run/model")  # as after a copy that was cut short
    assert train("gs://bucket/run", 2, "--resume") == 0
    assert names(bucket / "run") == before
    assert train(tmp_path / "run") == 0
    same(bucket / "run", tmp_path / "run")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the checkpoint")
# 1: before the first checkpoint; the others: within the second, and within the model.
@pytest.mark.parametrize("after", [1, 80, 110])
def test_a_copy_that_fails_is_one_sentence_and_the_run_goes_on(
    bucket, tmp_path, monkeypatch, capsys, after
):
    real, left = Path.write_bytes, [after]

    def fail(self, data):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(5, "Input/output error", str(self))
        return real(self, data)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", fail)
        assert train("gs://bucket/run") == 2
        (line,) = [x for x in capsys.readouterr().err.splitlines() if not x.startswith("epoch")]
        assert "Input/output error" in line
    assert train("gs://bucket/run", 2, "--resume") == 0
    assert train(tmp_path / "run") == 0
    same(bucket / "run", tmp_path / "run")


def test_a_run_can_be_loaded_while_another_model_is_copied(bucket, tmp_path, monkeypatch):
    assert train(tmp_path / "local") == 0
    copy = buckets.Copy(bucket / "run")
    shutil.copytree(tmp_path / "local", copy.path)
    copy.send()
    expected = parameters("gs://bucket/run")
    (old,) = (copy.path / "model").iterdir()
    shutil.copytree(old, copy.path / "model/9")
    shutil.rmtree(old)
    real, loaded = Path.write_bytes, []

    def write_and_load(self, data):
        written = real(self, data)
        if self.is_relative_to(bucket):
            loaded.append(parameters("gs://bucket/run"))
        return written

    monkeypatch.setattr(Path, "write_bytes", write_and_load)
    copy.send()
    assert len(loaded) > 5
    assert all(all(map(np.array_equal, found, expected)) for found in loaded)


def test_a_bucket_that_cannot_be_read_leaves_nothing_here(bucket, monkeypatch, tmp_path):
    monkeypatch.setattr(buckets.tempfile, "tempdir", str(tmp_path / "here"))
    (tmp_path / "here").mkdir()
    assert train("gs://bucket/run") == 0

    def fail(self):
        raise OSError(5, "Input/output error", str(self))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match="Input/output"):
        folders.RunFolder("gs://bucket/run", resume=True)
    assert not [*(tmp_path / "here").iterdir()]


def test_a_missing_way_to_a_bucket_is_named():
    with pytest.raises(ValueError, match="expected a way to reach gs://bucket/run"):
        buckets.bucket_path("gs://bucket/run")
