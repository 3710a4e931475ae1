"""An exported model answers as its run does, where nothing but JAX and NumPy is installed."""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from sbo_jax.rollouts.unrolled import Unrolled
from sbo_jax.runs.build import build_model
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.folder.description import describe
from sbo_jax.runs.preparation import prepare
from sbo_jax.trained import TrainedRun, export

ROOT = Path(__file__).parents[1]
# What a fresh environment of jax, flatbuffers and numpy holds: these, and what jax requires.
INSTALLED = ("jax", "jaxlib", "flatbuffers", "numpy", "ml_dtypes", "opt_einsum", "scipy")
MARK = -9.0
STEPS = 'inputs = "data.npz:steps"\noffsets = "data.npz:offsets"\n'
KINDS = {
    "classes": STEPS + 'labels = "data.npz:labels"',
    "numbers": STEPS + 'labels = "data.npz:numbers"\nmetric = "mse"',
    "classes of every step, gaps left out": STEPS
    + 'labels = "data.npz:states"\nper_step = true\nmissing = "mask"\ngaps = -9',
    "gaps carried, long sequences cut": STEPS
    + 'labels = "data.npz:labels"\nmissing = "carry"\ngaps = -9\nmax_length = 7\nkeep = "end"',
    "forecasts": STEPS + "horizon = 1",
}
HAS_GAPS = [kind for kind in KINDS if "gaps" in kind]


def sequences(rng, count, lengths=(8, 10), *, gaps=False):
    """Unequal ones of 2 features in units of their own; with gaps, of both notations."""
    lengths = rng.choice(lengths, size=count)
    drawn = [rng.normal((5, -300), (1, 40), size=(length, 2)) for length in lengths]
    for x in drawn if gaps else ():
        x[rng.random(x.shape) < 0.2] = np.nan
        x[rng.random(x.shape) < 0.1] = MARK
        x[rng.integers(len(x))] = np.nan
        x[rng.integers(len(x))] = 1.0
    return drawn


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of every kind, its parameters as they were drawn: what they are decides nothing."""
    rng, made = np.random.default_rng(), {}
    for kind, text in KINDS.items():
        folder = tmp_path_factory.mktemp("data")
        steps = sequences(rng, 24, gaps=kind in HAS_GAPS)
        np.savez(
            folder / "data.npz",
            steps=np.concatenate(steps),
            offsets=np.cumsum([0, *map(len, steps)]),
            labels=np.array(["wave", "rest", "push"])[np.arange(24) % 3],
            numbers=rng.normal(70, 20, size=24),
            states=np.array(["up", "down"])[np.arange(sum(map(len, steps))) % 2],
        )
        (folder / "dataset.toml").write_text(text)
        made[kind] = untrained(task="folder", folder=str(folder), hidden=4)
    return made


def untrained(**options):
    prepared = prepare(TrainConfig.of(**options))
    content = describe(prepared.config, prepared.recipe, prepared.task)
    return TrainedRun(prepared.model, json.loads(json.dumps(content, default=str)))


@pytest.fixture(scope="module")
def zips(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("zips")
    for number, run in enumerate(runs.values()):
        run.export(folder / f"{number}.zip")
    return {kind: folder / f"{number}.zip" for number, kind in enumerate(runs)}


def module(path):
    """The predict.py in a zip."""
    name = "predict_of_a_zip"
    spec = importlib.util.spec_from_loader(name, loader=None)
    found = importlib.util.module_from_spec(spec)
    found.__file__ = str(path / "predict.py")
    exec(zipfile.ZipFile(path).read("predict.py"), vars(found))
    return found


def reader(path):
    """The Model of the predict.py in a zip."""
    return module(path).Model(path)


def contents(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def assert_equal(ours, theirs):
    ours, theirs = ([*answers] for answers in (ours, theirs))
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert one.shape == other.shape
        if one.dtype.kind == "f":
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
        else:
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_model_answers_as_its_run_does(runs, zips, kind, rng):
    run, model = runs[kind], reader(zips[kind])
    for count, lengths in ((1, [10]), (64, [5, 10, 17])):
        data = sequences(rng, count, lengths, gaps=kind in HAS_GAPS)
        assert_equal(model.predict(data), run.predict(data))
        if run.classes:
            assert_equal(model.predict_proba(data), run.predict_proba(data))


def test_it_answers_where_sbo_jax_is_not_installed(runs, zips, tmp_path, rng):
    """The process sees the standard library and a folder with these packages, and nothing else."""
    run, data = runs["classes"], sequences(rng, 5)
    site = tmp_path / "site"
    site.mkdir()
    for name in (*INSTALLED, "numpy.libs", "scipy.libs"):
        if (spec := importlib.util.find_spec(name)) and spec.submodule_search_locations:
            (site / name).symlink_to(spec.submodule_search_locations[0])
    zipfile.ZipFile(zips["classes"]).extractall(tmp_path / "model")
    np.savez(tmp_path / "data.npz", *data)
    script = f"""if True:
        import importlib.util, runpy, sys
        sys.path.append({str(site)!r})
        known = [n for n in ("sbo_jax", "flax", "optax") if importlib.util.find_spec(n)]
        assert not known, known
        sys.argv = ["predict.py", {str(tmp_path / "data.npz")!r}]
        runpy.run_path({str(tmp_path / "model/predict.py")!r}, run_name="__main__")
    """
    command = [sys.executable, "-I", "-S", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.splitlines() == run.predict(data).tolist(), done.stderr


def test_more_sequences_than_are_read_at_once_are_an_array_too(runs, zips, rng):
    data = rng.normal((5, -300), (1, 40), size=(70, 10, 2))
    assert_equal(reader(zips["classes"]).predict_proba(data), runs["classes"].predict_proba(data))


def test_model_json_scales_to_the_last_digit(runs, zips):
    scaler = runs["classes"].scaler
    inputs = json.loads(contents(zips["classes"])["model.json"])["inputs"]
    assert inputs["mean"] == scaler.mean.tolist()
    assert inputs["std"] == scaler.std.tolist()


def test_the_program_is_one_for_all_sizes_and_platforms(zips):
    files = contents(zips["classes"])
    program = jax.export.deserialize(bytearray(files["program.bin"]))
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert [str(aval) for aval in program.in_avals] == ["float32[b,t,2]", "int32[b]"]


def test_a_run_is_exported_to_the_same_bytes(runs, zips, tmp_path):
    runs["classes"].export(tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == zips["classes"].read_bytes()


def test_no_file_in_it_names_a_place_on_this_machine(zips):
    for path in zips.values():
        for data in contents(path).values():
            assert str(ROOT).encode() not in data
            assert sys.prefix.encode() not in data
            assert os.fsencode(path.parent) not in data


def layer(**options):
    config = TrainConfig.of(hidden=16, **options)
    model = build_model(config, in_features=2, out_features=3, metric="accuracy", length=6)
    model.eval()
    return model


def outputs(model, xs, lengths):
    return nnx.jit(lambda model, *data: model(data[0], seq_lengths=data[1]))(model, xs, lengths)


SHAPE = {"in_features": 2, "length": 6}
READERS = {
    "fused": {"rollout": "fused", "operator": "dense"},
    "fused hopper": {"rollout": "experimental_fused_hopper", "operator": "dense"},
    "fused tpu": {"rollout": "experimental_fused_tpu"},
    "parallel": {"rollout": "parallel", "operator": "diagonal", "inner_steps": 2},
    "sequence": {"preset": "equilibrium", "rollout": "sequence"},
    "recall": {"model": "recall", "layers": 2},
    **{name: {"model": name} for name in ("gru", "fast_rnn", "sharnn")},  # one of every kind
}


@pytest.mark.parametrize("name", READERS)
def test_every_layer_that_a_run_can_have_is_exported(name, rng):
    model = layer(**READERS[name])
    program = export.exported(model, SHAPE)
    steps = 6 if name == "sharnn" else "t"
    assert str(program.in_avals[0]) == f"float32[b,{steps},2]"
    if "rollout" in READERS[name] and name != "sequence":  # read by a scan, and have a model
        assert not isinstance(model.rnn.rollout, Unrolled)
        inner = getattr(model.rnn.rollout, "inner_steps", 1)
        model.rnn.rollout = Unrolled(inner_steps=inner)
    if name not in ("sequence", "sharnn"):
        xs = np.float32(rng.normal(size=(3, 6, 2)))
        lengths = np.array([2, 6, 5], np.int32)
        ours = program.call(xs, lengths)
        np.testing.assert_allclose(ours, outputs(model, xs, lengths), rtol=1e-5, atol=1e-6)


def test_bricks_are_exported_for_the_length_of_training_alone(tmp_path, rng):
    run = untrained(task="digits", model="sharnn", hidden=4)
    run.export(tmp_path / "model.zip")
    model = reader(tmp_path / "model.zip")
    data = rng.uniform(0, 16, size=(2, 64, 1))
    assert_equal(model.predict_proba(data), run.predict_proba(data))
    with pytest.raises(ValueError, match="sample 0: expected 64 steps, as in training, got 63"):
        model.predict(data[:, 1:])


def test_dropout_is_off_in_an_exported_model(rng):
    model = layer(layers=2, dropout=0.5)
    model.train()
    xs, lengths = np.float32(rng.normal(size=(2, 5, 2))), np.full(2, 5, np.int32)
    program = export.exported(model, SHAPE)
    model.eval()
    ours = program.call(xs, lengths)
    np.testing.assert_allclose(ours, outputs(model, xs, lengths), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("classes", lambda x: x[:, :1], r"sample 1: expected numbers \[steps, 2 features\], got"),
        ("classes", lambda x: x.astype(str), r"sample 1: expected numbers .* of <U"),
        ("classes", lambda x: x * [1, np.nan], "sample 1: expected finite numbers, got a gap"),
        ("classes", lambda x: x * np.inf, "sample 1: expected finite numbers, got an infinite"),
        (HAS_GAPS[0], lambda x: x * 0 + MARK, "sample 1: expected a step with values, got none"),
    ],
)
def test_data_that_cannot_be_read_are_refused_in_a_sentence(zips, rng, kind, change, words):
    first, second = sequences(rng, 2)
    with pytest.raises(ValueError, match=words):
        reader(zips[kind]).predict([first, change(second)])


def test_a_model_asks_for_a_sequence_and_for_classes(zips):
    with pytest.raises(ValueError, match="expected one sequence or more, got none"):
        reader(zips["classes"]).predict([])
    with pytest.raises(ValueError, match="expected a model of classes, got one of numbers"):
        reader(zips["numbers"]).predict_proba([np.ones((3, 2))])


def test_a_program_that_was_changed_is_refused(zips, tmp_path):
    files = contents(zips["classes"])
    files["program.bin"] = files["program.bin"][::-1]
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=r"expected the program that model\.json describes"):
        reader(zips["classes"]).__class__(tmp_path)


BAD = {
    "no file": (None, "expected numbers in a file .npy or .npz, got none that can be read"),
    "text": (np.array([[["a"]]]), "sample 0: expected numbers"),
    "pickled": (np.array([[[None]]]), "expected numbers in a file .npy or .npz, got none"),
    "one sequence": (np.ones((3, 2)), "expected an array [N, T, d], got the shape (3, 2)"),
    "another width": (np.ones((1, 3, 5)), "sample 0: expected numbers [steps, 2 features]"),
}


@pytest.mark.parametrize("kind", BAD)
def test_the_command_answers_bad_data_with_a_sentence_and_code_2(kind, zips, tmp_path, capsys):
    data, words = BAD[kind]
    if data is not None:
        np.save(tmp_path / "data.npy", data)
    assert module(zips["classes"]).main([str(tmp_path / "data.npy")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("predict.py: ")
    assert words in line


def test_the_command_says_what_it_is_given_and_what_it_lacks(zips, tmp_path, capsys):
    program = module(zips["classes"])
    assert program.main([]) == 2
    assert "FILE: expected one file, .npy or .npz, got 0" in capsys.readouterr().err
    with pytest.raises(
        ValueError, match=r"expected model\.json and its program, got none that can"
    ):
        program.Model(tmp_path)


def test_a_file_that_is_there_is_kept(runs, tmp_path):
    path = tmp_path / "model.zip"
    path.write_text("mine")
    with pytest.raises(ValueError, match=r"expected a new file, got .*model\.zip"):
        runs["classes"].export(path)
    assert path.read_text() == "mine"


def test_a_folder_that_is_not_there_is_named_before_anything_is_traced(runs, tmp_path):
    with pytest.raises(ValueError, match=r"expected a folder to write to, got .*/none; make it"):
        runs["classes"].export(tmp_path / "none" / "model.zip")


def test_a_full_disk_leaves_nothing_half_written(runs, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(OSError, match="No space left"):
        runs["classes"].export(tmp_path / "model.zip")
    assert not [*tmp_path.iterdir()]


def test_a_language_model_is_refused(tmp_path):
    content = {"model": {"metric": "perplexity"}}
    with pytest.raises(ValueError, match="got a language model, which reads words; use"):
        TrainedRun(None, content).export(tmp_path / "model.zip")
