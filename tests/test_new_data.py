"""Laws of new data in the layouts of docs/own_data.md: answers are those of training."""

import functools
import gzip
import io
import shutil

import numpy as np
import own_data
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from sklearn.metrics import r2_score

from sbo_jax.runs import TrainConfig, prepare
from sbo_jax.runs.folder.description import describe
from sbo_jax.runs.scores import scores
from sbo_jax.runs.test_split.answers import of_samples
from sbo_jax.tasks._types import DataError
from sbo_jax.tasks.loader import evaluation_order
from sbo_jax.tasks.own.new_data import piped
from sbo_jax.trained import TrainedRun
from sbo_jax.trained.evaluation import evaluate
from sbo_jax.training.predictions import predictions


@pytest.fixture(scope="module")
def gestures(tmp_path_factory):
    return own_data.write(tmp_path_factory.mktemp("data"))


class Untrained:
    """A run that never trained: what it answers is as good as chance, and reproducible."""

    def __init__(self, path):
        options = {"hidden": 4, "batch_size": 8, "preset": "stable"}
        config = TrainConfig.of(task="folder", folder=str(path), **options)
        self.prepared = prepare(config)
        self.task = self.prepared.task
        content = describe(self.prepared.config, self.prepared.recipe, self.task)
        self.run = TrainedRun(self.prepared.model, content)

    def predicted(self):
        return predictions(*self.prepared.init(), self.task.test, 8)


@pytest.fixture(scope="module")
def untrained(gestures):
    """The run of a description, made once."""
    return functools.cache(lambda name: Untrained(gestures / name))


def write_table(gestures, ids, folder):
    lines = (gestures / "steps.csv").read_text().splitlines()
    rows = [line for line in lines if line.partition(",")[0] in {"run", *ids}]
    (folder / "new.csv").write_text("\n".join(rows))
    return folder / "new.csv"


def write_sequences(gestures, ids, folder):
    lines = (gestures / "index.csv").read_text().splitlines()
    (folder / "recordings").mkdir()
    for name in ids:
        shutil.copy(gestures / "recordings" / name, folder / "recordings")
    chosen = [line for line in lines if line.partition(",")[0] in {"file", *ids}]
    (folder / "index.csv").write_text("\n".join(chosen))
    return folder / "index.csv"


def write_arrays(gestures, ids, folder):
    rows = [int(name) for name in ids]
    with np.load(gestures / "all.npz") as whole:
        np.savez(folder / "new.npz", **{name: whole[name][rows] for name in whole})
    return folder / "new.npz"


def write_unequal(gestures, ids, folder):
    rows = [int(name) for name in ids]
    with np.load(gestures / "unequal.npz") as whole:
        cuts = whole["offsets"][1:-1]
        pieces = {name: np.split(whole[name], cuts) for name in ("signals", "gaps", "state")}
        new = {name: np.concatenate([x[row] for row in rows]) for name, x in pieces.items()}
        lengths = [len(pieces["signals"][row]) for row in rows]
        offsets = np.cumsum([0, *lengths])
        np.savez(folder / "new.npz", **new, gesture=whole["gesture"][rows], offsets=offsets)
    return folder / "new.npz"


LAYOUTS = {
    "table.toml": write_table,
    "dataset.toml": write_sequences,
    "arrays.toml": write_arrays,
    "unequal.toml": write_unequal,
    "states.toml": write_unequal,
    "forecast.toml": write_unequal,
    "gaps.toml": write_unequal,
    "short.toml": write_unequal,
    "Gestures_TRAIN.ts": lambda gestures, *_: gestures / "Gestures_TEST.ts",
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_raw_files_of_the_test_samples_are_answered_as_training_answers_them(
    name, gestures, untrained, tmp_path
):
    one = untrained(name)
    source = one.task.test
    answers = one.run.answers(LAYOUTS[name](gestures, source.ids, tmp_path))
    is_renamed = LAYOUTS[name] in (write_arrays, write_unequal)  # arrays are numbered anew
    ids = list(source.ids) if is_renamed else answers.ids
    assert sorted(ids) == sorted(source.ids)
    order = [source.ids[row] for row in evaluation_order(source)]
    expected = one.predicted().outputs
    answering = one.run.answering
    values, convert = answers.answers, answering.answers
    if answers.probabilities is not None:
        values, convert = answers.probabilities, answering.probabilities
    found = dict(zip(ids, values, strict=True))
    if one.task.per_step:
        counts = dict(zip(source.ids, source.targets.lengths, strict=True))
        flat = np.concatenate([found[key][: counts[key]] for key in order])
    else:
        flat = np.stack([found[key] for key in order])
    np.testing.assert_allclose(flat, convert(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LAYOUTS)
def test_labelled_files_of_the_test_samples_score_what_training_scores(
    name, gestures, untrained, tmp_path
):
    one = untrained(name)
    found = evaluate(one.run, LAYOUTS[name](gestures, one.task.test.ids, tmp_path)).scores
    predicted = one.predicted()
    expected = scores(of_samples(one.task, predicted))
    assert found.keys() - expected.keys() == {one.task.metric}
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-5, err_msg=key)


class Stream:
    """A DataFrame of nobody in particular."""

    def __init__(self, table):
        self.__arrow_c_stream__ = table.__arrow_c_stream__


def as_text(table):
    """Names of sequences as a CSV file has them."""
    return table.set_column(0, "run", table.column("run").cast(pa.string()))


def test_a_table_is_answered_alike_in_every_form(gestures, untrained, tmp_path):
    run = untrained("table.toml").run
    expected = run.answers(gestures / "steps.csv")
    types = {"run": pa.string()}
    options = pa.csv.ConvertOptions(column_types=types)
    table = pa.csv.read_csv(gestures / "steps.csv", convert_options=options)
    with gzip.open(tmp_path / "a.csv.gz", "wb") as file:
        file.write((gestures / "steps.csv").read_bytes())
    pa.parquet.write_table(table, tmp_path / "whole.parquet")
    half = len(table) // 2
    for number, part in enumerate((table[:half], table[half:])):
        pa.parquet.write_table(part, tmp_path / f"part-{number}.parquet")
    x, y, z, names = (table.column(name).to_numpy() for name in ("x", "y", "z", "run"))
    arrays = [np.stack([x, y, z], axis=1)[names == name] for name in expected.ids]
    forms = {
        "gzip": tmp_path / "a.csv.gz",
        "Parquet": str(tmp_path / "whole.parquet"),
        "pattern": str(tmp_path / "part-*.parquet"),
        "list": [tmp_path / "part-0.parquet", tmp_path / "part-1.parquet"],
        "description": gestures / "table.toml",
        "pyarrow": table,
        "any stream": Stream(table),
        "other columns in another order": table.select(["z", "y", "x", "t", "run"]),
        "categories": table.set_column(0, "run", table.column("run").dictionary_encode()),
        "views": table.set_column(0, "run", table.column("run").cast(pa.string_view())),
        "arrays": arrays,
    }
    for form, raw in forms.items():
        found = run.answers(raw)
        assert form == "arrays" or found.ids == expected.ids, form
        np.testing.assert_array_equal(found.answers, expected.answers, form)
        np.testing.assert_array_equal(found.probabilities, expected.probabilities, form)


def test_rows_of_a_table_may_be_in_any_order(gestures, untrained, rng):
    run = untrained("table.toml").run
    table = pa.csv.read_csv(gestures / "steps.csv")
    expected = run.answers(table)
    found = run.answers(table.take(pa.array(rng.permutation(len(table)))))
    assert found.ids != expected.ids
    pairs = zip(expected.ids, expected.answers, strict=True)
    assert dict(zip(found.ids, found.answers, strict=True)) == dict(pairs)


@pytest.mark.parametrize("characters", [0, 5000, 10**9])
def test_a_table_in_a_pipe_is_answered_as_in_a_file(characters, gestures, untrained, monkeypatch):
    monkeypatch.setattr(piped, "_CHARACTERS", characters)
    run = untrained("table.toml").run
    with (gestures / "steps.csv").open("rb") as stream:
        found = [run.answers_of(table) for table in run.reading.piped(stream)]
    assert (len(found) > 1) == (characters < 10**9)
    expected = run.answers(gestures / "steps.csv")
    assert [name for part in found for name in part.ids] == expected.ids
    probabilities = np.concatenate([part.probabilities for part in found])
    np.testing.assert_allclose(probabilities, expected.probabilities, rtol=1e-5)


HEAD = "run,t,x,y,z\n"
PIPES = {
    "no number": (HEAD + "a,0,1,2,3\nb,0,1,2,3\nb,1,1,2,x\n", r"input, line 4, column z: .*'x'"),
    "apart": (HEAD + "a,0,1,2,3\nb,0,1,2,3\na,1,1,2,3\n", r"input, line 4: .* got a again"),
    "cells": (HEAD + "\n\na,0,1,2,3\nb,0,1\n", r"input, line 5: expected 5 cells"),
    "time": (HEAD + "a,0,1,2,3\nb,0,1,2,3\nb,0,1,2,3\n", r"input, line 4: .*every time once"),
    "quote": (HEAD + 'a,0,1,2,3\nb,0,1,2,"3\n', r"input, line 4: expected CSV"),
    "columns": ("run,t,x\na,0,1\n", r"columns run, t, x, y, z .* found run, t, x, without y, z"),
    "empty": ("", r"input: expected a CSV file, got an empty one"),
    "no row": (HEAD, r"input: expected a row for every step"),
}


@pytest.mark.parametrize("fault", PIPES)
def test_a_fault_in_a_pipe_is_refused_with_its_line(fault, untrained, monkeypatch):
    text, sentence = PIPES[fault]
    monkeypatch.setattr(piped, "_CHARACTERS", 0)
    with pytest.raises(DataError, match=sentence):
        list(untrained("table.toml").run.reading.piped(io.BytesIO(text.encode())))


def test_new_data_need_no_labels(gestures, untrained, tmp_path):
    """Nor groups: in a table, in an index, in arrays, in an archive."""
    table = pa.csv.read_csv(gestures / "steps.csv").drop_columns(["gesture", "person"])
    run = untrained("table.toml").run
    assert len(run.predict(table)) == 120
    with pytest.raises(DataError, match=r"t, x, y, z, gesture as in training, .*without gesture"):
        run.labelled_table(table)
    run = untrained("dataset.toml").run
    (tmp_path / "index.csv").write_text("file\n007.csv\n003.csv\n")
    shutil.copytree(gestures / "recordings", tmp_path / "recordings")
    assert run.answers(tmp_path / "index.csv").ids == ["007.csv", "003.csv"]
    assert run.answers(tmp_path / "recordings/005.csv").ids == ["005.csv"]
    found = run.answers(tmp_path / "recordings")
    assert found.ids == run.answers(gestures).ids
    with pytest.raises(DataError, match="in an index with the columns file,label"):
        run.labelled_table(tmp_path / "recordings")
    np.save(tmp_path / "new.npy", np.load(gestures / "all.npz")["signals"])
    run = untrained("arrays.toml").run
    assert len(run.predict(tmp_path / "new.npy")) == 120
    with pytest.raises(DataError, match=r"inputs and labels in one file .npz, by the keys"):
        run.labelled_table(tmp_path / "new.npy")
    lines = (gestures / "Gestures_TEST.ts").read_text().splitlines()
    bare = ["@classLabel false", "@data", *(line.rpartition(":")[0] for line in lines[2:])]
    (tmp_path / "new.ts").write_text("\n".join(bare))
    run = untrained("Gestures_TRAIN.ts").run
    expected = run.predict(gestures / "Gestures_TEST.ts")
    np.testing.assert_array_equal(run.predict(tmp_path / "new.ts"), expected)
    with pytest.raises(DataError, match="expected labels, stated by @classLabel"):
        run.labelled_table(tmp_path / "new.ts")


FAULTS = {
    "no file": ("table.toml", "none.csv", "a table in .*none.csv, found no such file"),
    "no match": ("table.toml", "none-*.csv", r"tables in .*none-\*.csv, found no file"),
    "another layout": ("table.toml", "all.npz", r"a file .csv, .csv.gz or .parquet, got .npz"),
    "other columns": ("table.toml", "index.csv", "run, t, x, y, z .*found file, label, group, wit"),
    "arrays": ("dataset.toml", "all.npz", r"sequence files .*as in training, got .*all.npz; desc"),
    "no key": ("unequal.toml", "all.npz", r"a key of that file \(signals, .*\), got offsets"),
    "a named key": ("arrays.toml", "all.npz:x", r"a key of that file \(signals, .*\), got x"),
    "no arrays": ("arrays.toml", "steps.csv", r"arrays in FILE.npz, .* got .*steps.csv"),
    "no archive": ("Gestures_TRAIN.ts", "steps.csv", r"a file .ts or .arff, got .*steps.csv"),
    "no test file": ("Gestures_TRAIN.ts", "none.ts", r"sequences in .*none.ts, found no such file"),
    "no description": ("arrays.toml", "recordings", r"a folder with a dataset.toml, got .*without"),
    "no sequence": ("dataset.toml", "none", r"a sequence, an index or a folder in .*none, found"),
    "no numbers": ("dataset.toml", "steps.csv", r"steps.csv, line 1: expected finite numbers"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_path_that_cannot_be_read_is_refused_in_a_sentence(fault, gestures, untrained):
    name, path, sentence = FAULTS[fault]
    with pytest.raises(DataError, match=sentence):
        untrained(name).run.predict(gestures / path)


def test_a_frame_is_refused_by_a_run_that_was_not_trained_on_a_table(gestures, untrained):
    table = pa.csv.read_csv(gestures / "steps.csv")
    with pytest.raises(DataError, match=r"trained on a long table.*trained on arrays"):
        untrained("arrays.toml").run.predict(table)


def test_a_frame_is_checked_as_a_file_is(gestures, untrained):
    run, table = untrained("table.toml").run, pa.csv.read_csv(gestures / "steps.csv")
    t = table.column_names.index("t")
    later = pa.array(table["t"].to_numpy() + (np.arange(len(table)) >= 3))
    with pytest.raises(DataError, match=r"DataFrame, row 3 .*at most max_gap = 0.05 in t"):
        run.predict(table.set_column(t, "t", later))
    text = table.set_column(2, "x", pa.array(["a"] * len(table)))
    with pytest.raises(DataError, match=r"DataFrame: expected integers.* column x, got"):
        run.predict(text)
    twice = table.append_column("x", table["x"])
    with pytest.raises(DataError, match=r"DataFrame: expected a different name .* gesture, .*, x$"):
        run.predict(twice)
    gap = pa.array([None, *table["x"].to_pylist()[1:]])
    with pytest.raises(DataError, match=r"DataFrame, row 0 .*expected a number for x, got a gap"):
        run.predict(table.set_column(2, "x", gap))


def test_labels_that_training_did_not_have_are_refused_with_their_line(
    gestures, untrained, tmp_path
):
    text = (gestures / "steps.csv").read_text().replace("wave", "wafe")
    (tmp_path / "new.csv").write_text(text)
    with pytest.raises(DataError, match=r"new.csv, line 32, .*among .*'wave'.*got 'wafe'"):
        evaluate(untrained("table.toml").run, tmp_path / "new.csv")


def test_features_in_another_order_are_refused_with_both_lists(tmp_path, rng):
    """Where files of sequences name them."""
    for number in range(20):
        rows = rng.normal(size=(5, 2))
        np.savetxt(tmp_path / f"{number}.csv", rows, delimiter=",", header="a,b", comments="")
    lines = [f"{number}.csv,{number % 2}" for number in range(20)]
    (tmp_path / "index.csv").write_text("\n".join(["file,label", *lines]))
    (tmp_path / "dataset.toml").write_text('index = "index.csv"\nheader_lines = 1')
    run = Untrained(tmp_path).run
    assert len(run.predict(tmp_path / "3.csv")) == 1
    (tmp_path / "new.csv").write_text("b,a\n1,2\n")
    with pytest.raises(DataError, match="the features a, b as in training, found b, a"):
        run.predict(tmp_path / "new.csv")
    folder = tmp_path / "new"
    folder.mkdir()
    shutil.copy(tmp_path / "3.csv", folder)
    shutil.copy(tmp_path / "new.csv", folder)
    with pytest.raises(
        DataError, match=r"new.csv: expected the columns a, b as in 3.csv, got b, a$"
    ):
        run.predict(folder)


def test_counts_of_an_evaluation_are_those_counted_by_hand(gestures, untrained):
    one = untrained("states.toml")
    with np.load(gestures / "unequal.npz") as content:
        labels = content["state"]
    found = np.concatenate(one.run.predict(gestures / "unequal.npz"))
    evaluation = evaluate(one.run, gestures / "unequal.npz")
    for row, label in enumerate(one.run.classes):
        for column, answer in enumerate(one.run.classes):
            count = np.sum((labels == label) & (found == answer))
            assert evaluation.confusion[row, column] == count
        assert evaluation.per_class[row]["support"] == np.sum(labels == label)


def test_whole_numbers_of_every_step_are_scored_as_others(tmp_path, rng):
    inputs, labels = rng.normal(size=(30, 5, 2)), rng.integers(-9, 9, (30, 5, 2))
    np.savez(tmp_path / "all.npz", x=inputs, y=labels)
    keys = 'inputs = "all.npz:x"\nlabels = "all.npz:y"\nper_step = true\nmetric = "mse"\n'
    (tmp_path / "dataset.toml").write_text(keys)
    run = Untrained(tmp_path).run
    expected = r2_score(labels.reshape(-1, 2), np.concatenate(run.predict(inputs)))
    assert evaluate(run, tmp_path).labels.tolist() == labels.reshape(-1, 2).tolist()
    for score in (run.score(tmp_path), run.score(inputs, labels), run.score(inputs, labels / 1)):
        np.testing.assert_allclose(score, expected, rtol=1e-6)


DESCRIPTIONS = {
    "no label": ("table.toml", 'table = "steps.csv"\nsequence = "run"\n', "expected label, which"),
    "no labels": ("arrays.toml", 'inputs = "all.npz:signals"\n', "expected labels, which"),
    "of sequences": (
        "states.toml",
        'inputs = "unequal.npz:signals"\noffsets = "unequal.npz:offsets"\n'
        'labels = "unequal.npz:gesture"\n',
        "expected a label for every step, as in training, got one for every sequence; add per_st",
    ),
    "of steps": (
        "unequal.toml",
        'inputs = "unequal.npz:signals"\noffsets = "unequal.npz:offsets"\n'
        'labels = "unequal.npz:state"\nper_step = true\n',
        "expected a label for every sequence, as in training, got one for every step; leave per_st",
    ),
}


@pytest.mark.parametrize("fault", DESCRIPTIONS)
def test_a_description_of_other_labels_than_those_of_training_is_not_scored(
    fault, gestures, untrained, tmp_path
):
    name, text, sentence = DESCRIPTIONS[fault]
    for file in ("steps.csv", "all.npz", "unequal.npz"):
        shutil.copy(gestures / file, tmp_path)
    features = 'features = ["x", "y", "z"]\n' if name == "table.toml" else ""
    (tmp_path / "dataset.toml").write_text(text + features)
    run = untrained(name).run
    assert len(run.predict(tmp_path)) == 120
    with pytest.raises(DataError, match=sentence):
        evaluate(run, tmp_path)


def test_numbers_are_scored_by_name(gestures, untrained, tmp_path):
    lines = (gestures / "steps.csv").read_text().splitlines()
    (tmp_path / "new.csv").write_text(
        "\n".join(f"{line},{'p,q' if row == 0 else '1.5,2.5'}" for row, line in enumerate(lines))
    )
    keys = 'table = "new.csv"\nsequence = "run"\nfeatures = ["x", "y", "z"]\n'
    (tmp_path / "dataset.toml").write_text(keys + 'label = ["p", "q"]\nmetric = "mse"\n')
    run = Untrained(tmp_path).run
    assert evaluate(run, tmp_path).answers.shape == (120, 2)
    other = tmp_path / "other.toml"
    other.write_text(keys + 'label = ["p", "q"]\n')
    assert evaluate(run, other).answers.shape == (120, 2)  # the metric is that of training
    other.write_text(keys + 'label = ["q", "p"]\n')
    np.testing.assert_array_equal(evaluate(run, other).labels, evaluate(run, tmp_path).labels)
    other.write_text(keys + 'label = "p"\n')
    with pytest.raises(DataError, match="expected the labels p, q as in training, got p"):
        evaluate(run, other)


def test_a_score_reads_the_labels_in_files_and_frames(gestures, untrained):
    run = untrained("table.toml").run
    expected = evaluate(run, gestures / "steps.csv").scores["accuracy"]
    assert run.score(gestures / "steps.csv") == expected
    assert run.score(pa.csv.read_csv(gestures / "steps.csv")) == expected
    with pytest.raises(DataError, match="got arrays, which have no labels"):
        run.score(np.zeros((1, 4, 3)))


def test_a_forecast_is_scored_by_later_steps_of_any_data(gestures, untrained):
    run = untrained("forecast.toml").run
    with np.load(gestures / "unequal.npz") as content:
        sequences = np.split(content["signals"], content["offsets"][1:-1])
    score = run.score(sequences)
    assert score == pytest.approx(run.score(gestures / "unequal.npz"))
    found = np.concatenate([each[:-1] for each in run.predict(sequences)])
    later = np.concatenate([each[1:] for each in sequences])
    errors = ((found - later) ** 2).sum(0) / ((later - later.mean(0)) ** 2).sum(0)
    assert score == pytest.approx(np.mean(1 - errors))
    with pytest.raises(DataError, match="expected no labels of a forecast"):
        run.score(sequences, sequences)
