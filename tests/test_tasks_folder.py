"""Laws of the task that reads a user's own files, and what docs/own_data.md says about it."""

import json
import pickle
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from task_properties import check_properties

import sbo_jax
from sbo_jax import tasks
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.config.command_line import parse
from sbo_jax.runs.folder.description import check_same_run, describe
from sbo_jax.runs.train_command import train_once
from sbo_jax.tasks._types import DataError
from sbo_jax.tasks.account import account
from sbo_jax.trained.commands import evaluate as evaluate_command
from sbo_jax.trained.commands import predict as predict_command

ROOT = Path(__file__).parents[1]
NAMES = np.array(["a", "b", "c"])


def load(path, **options):
    return tasks.load("folder", folder=path, **options)


def write_index(folder, lines, header="file,label"):
    (folder / "index.csv").write_text("\n".join([header, *lines]) + "\n")


def write_toml(folder, text='index = "index.csv"'):
    (folder / "dataset.toml").write_text(text)


@pytest.fixture
def inputs(rng):
    """Thirty sequences of seven steps and two features."""
    return rng.normal(3, 2, size=(30, 7, 2)).astype(np.float32)


def test_the_account_names_the_classes_that_nothing_is_held_out_of(tmp_path, rng):
    labels = np.repeat(["a", "b", "c"], [20, 10, 1])
    np.savez(tmp_path / "all.npz", x=rng.normal(size=(31, 4, 2)), y=labels)
    write_toml(tmp_path, 'inputs = "all.npz:x"\nlabels = "all.npz:y"')
    held_out = account(load(tmp_path)).rpartition("Held out: ")[2]
    assert held_out.endswith("; none of c in validation; none of c in test.")
    assert "none of a" not in held_out


@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\x0c", "\n"])
def test_a_quoted_label_may_hold_what_ends_lines_elsewhere(sequences, labels, mark):
    names = [label.replace("b", f"b{mark}2") for label in labels.tolist()]
    write_index(sequences, [f'{number}.csv,"{name}"' for number, name in enumerate(names)])
    assert load(sequences).facts["classes"] == ["a", f"b{mark}2", "c"]


@pytest.fixture
def labels():
    return NAMES[np.arange(30) % 3]


@pytest.fixture
def sequences(tmp_path, inputs, labels):
    """A folder of thirty CSV files of three classes."""
    for number, sequence in enumerate(inputs):
        np.savetxt(tmp_path / f"{number}.csv", sequence, "%.9g", delimiter=",")
    write_index(tmp_path, [f"{number}.csv,{label}" for number, label in enumerate(labels)])
    write_toml(tmp_path)
    return tmp_path


@pytest.fixture
def arrays(tmp_path, inputs, labels):
    """A folder with the same in one file."""
    groups = np.arange(30) // 5
    np.savez(tmp_path / "all.npz", x=inputs, y=labels, who=groups, z=inputs.sum((1, 2)))
    write_toml(tmp_path, 'inputs = "all.npz:x"\nlabels = "all.npz:y"\n')
    return tmp_path


def samples(task):
    """{raw sequence: label} of every part."""
    found = {}
    for name in ("train", "validation", "test"):
        source = getattr(task, name)
        for sequence, target in zip(source.inputs, source.targets, strict=True):
            found[name, sequence.astype(np.float32).tobytes()] = target
    return found


# what is read


@pytest.mark.parametrize("layout", ["sequences", "arrays"])
def test_every_sequence_is_in_one_part_with_its_label(layout, request, inputs, labels):
    task = load(request.getfixturevalue(layout))
    expected = {x.tobytes(): list(NAMES).index(y) for x, y in zip(inputs, labels, strict=True)}
    assert {sequence: int(k) for (_, sequence), k in samples(task).items()} == expected
    assert (task.length, task.in_features, task.out_features) == (7, 2, 3)
    assert task.facts["counts"] == {"train": 19, "validation": 5, "test": 6}
    assert task.facts["classes"] == ["a", "b", "c"]


def test_the_entry_states_the_properties_of_the_task(arrays):
    check_properties("folder", load(arrays))


def test_both_layouts_are_the_same_task(sequences, arrays, inputs):
    of_arrays = load(arrays)
    write_toml(sequences)
    assert samples(load(sequences)) == samples(of_arrays)


def test_a_pair_of_npy_files_is_read_as_one_npz_file(arrays, inputs, labels):
    whole = samples(load(arrays))
    np.save(arrays / "x.npy", inputs)
    np.save(arrays / "y.npy", labels)
    write_toml(arrays, 'inputs = "x.npy"\nlabels = "y.npy"')
    assert samples(load(arrays)) == whole


def test_no_group_is_in_two_parts(arrays, inputs):
    write_toml(arrays, 'inputs = "all.npz:x"\nlabels = "all.npz:y"\ngroups = "all.npz:who"')
    group = {sequence.tobytes(): number // 5 for number, sequence in enumerate(inputs)}
    parts = {}
    for part, sequence in samples(load(arrays)):
        parts.setdefault(group[sequence], set()).add(part)
    assert all(len(part) == 1 for part in parts.values())
    assert {part for each in parts.values() for part in each} == {"train", "validation", "test"}


def test_the_index_may_say_who_is_in_which_part(sequences, inputs, labels):
    parts = ["test"] * 4 + ["validation"] * 6 + ["train"] * 20
    lines = [f"{part},{i}.csv,{labels[i]}" for i, part in enumerate(parts)]
    write_index(sequences, lines, "split,file,label")
    expected = {(part, inputs[number].tobytes()) for number, part in enumerate(parts)}
    assert samples(load(sequences)).keys() == expected


def test_test_and_validation_samples_may_have_files_of_their_own(arrays, inputs, labels, rng):
    for name in ("test", "held"):
        np.savez(arrays / f"{name}.npz", x=rng.normal(size=(4, 7, 2)), y=NAMES[[0, 1, 2, 0]])
    files = '{{inputs = "{0}.npz:x", labels = "{0}.npz:y"}}'.format
    text = (arrays / "dataset.toml").read_text()
    write_toml(arrays, f"{text}test = {files('test')}\nvalidation = {files('held')}")
    task = load(arrays)
    assert task.facts["counts"] == {"train": 30, "validation": 4, "test": 4}
    np.testing.assert_array_equal(task.test.targets, [0, 1, 2, 0])


def test_the_test_set_never_moves_and_the_validation_set_does(sequences):
    first, other = load(sequences), load(sequences, seed=1)
    np.testing.assert_array_equal(first.test.inputs, other.test.inputs)
    assert not np.array_equal(first.validation.inputs, other.validation.inputs)


def test_numbers_to_regress_are_left_as_they_are(arrays, inputs):
    write_toml(arrays, 'inputs = "all.npz:x"\nlabels = "all.npz:z"\nmetric = "mse"')
    task = load(arrays)
    assert (task.metric, task.out_features, task.train.targets.dtype) == ("mse", 1, np.float32)
    for source in (task.train, task.validation, task.test):
        np.testing.assert_allclose(
            source.targets[:, 0], [x.sum() for x in source.inputs], rtol=1e-4
        )


def test_classes_may_be_put_in_order_and_integers_are_sorted_as_numbers(sequences, arrays, labels):
    write_toml(sequences, 'index = "index.csv"\nclasses = ["c", "b", "a"]')
    assert load(sequences).facts["classes"] == ["c", "b", "a"]
    write_index(sequences, [f"{i}.csv,{(2, 10, -3)[i % 3]}" for i in range(30)])
    write_toml(sequences)
    assert load(sequences).facts["classes"] == [-3, 2, 10]


def test_a_constant_feature_becomes_zero_though_it_is_no_float(sequences):
    for number in range(30):
        np.savetxt(sequences / f"{number}.csv", [[number, 0.1]] * 7, "%g", delimiter=",")
    task = load(sequences)
    assert task.facts["std"][1] == 1
    inputs, _ = task.test.fetch(np.arange(6))
    assert not inputs[..., 1].any()
    assert np.isfinite(inputs).all()


def test_a_header_a_byte_order_mark_and_blank_lines_at_the_end_are_no_steps(sequences, inputs):
    whole = samples(load(sequences))
    for number in range(30):
        path = sequences / f"{number}.csv"
        path.write_text("\ufeffx,y\n" + path.read_text() + "\n\n", encoding="utf-8")
    write_toml(sequences, 'index = "index.csv"\nheader_lines = 1')
    assert samples(load(sequences)) == whole


@pytest.mark.parametrize("header", ["y,x", "x,z", "of x and y"])
def test_columns_of_another_name_or_order_are_reported_with_their_file(header, sequences, rng):
    odd = int(rng.integers(1, 30))
    for number in range(30):
        path = sequences / f"{number}.csv"
        path.write_text(f"{header if number == odd else 'x, y'}\n{path.read_text()}")
    write_toml(sequences, 'index = "index.csv"\nheader_lines = 1')
    got = {"of x and y": "none"}.get(header, ", ".join(header.split(",")))
    place = rf"got {got} \(.*index.csv, line {odd + 2}\)$"
    with pytest.raises(DataError, match=rf"{odd}.csv: .*columns x, y as in 0.csv, {place}"):
        load(sequences)


def test_a_part_of_a_data_set_keeps_every_class(sequences):
    task = load(sequences, train_fraction=0.1)
    assert sorted(task.train.targets) == [0, 1, 2]
    assert len(task.test) == 6


# what is refused


def line(number, text):
    """A change of one line of a file, counted from 1."""

    def apply(content):
        lines = content.splitlines()
        lines[number - 1 : number] = text.splitlines() or [""]
        return "\n".join(lines)

    return apply


SEQUENCE_FAULTS = {
    "ragged row": ("4.csv", line(3, "1"), "4.csv, line 3: expected 2 numbers.*got 1"),
    "blank line": ("4.csv", line(3, ""), "4.csv, line 3: expected 2 numbers.*got 0"),
    "narrow": ("4.csv", lambda c: "1\n" * 7, r"4.csv: expected 2 .* 0.csv, got 1 .*line 6\)"),
    "empty": ("4.csv", lambda c: "\n", "4.csv: .*empty"),
    "blank first line": ("4.csv", line(1, ""), "4.csv, line 1: expected numbers, got an empty"),
    "text": ("4.csv", line(2, "1,x"), "4.csv, line 2: expected finite numbers.*got 'x'"),
    "no number": ("4.csv", line(2, "1,"), "4.csv, line 2: .*got ''"),
    "semicolons": ("0.csv", lambda c: c.replace(",", ";"), "0.csv, line 1: .*commas, got '[^']*'$"),
    "underscore": ("4.csv", line(2, "1_0,1"), "4.csv, line 2: .*got '1_0'"),
    "nan": ("4.csv", line(7, "nan,1"), "4.csv, line 7: .*got 'nan'"),
    "inf": ("4.csv", line(1, "1,-inf"), "4.csv, line 1: .*got '-inf'; header_lines = 1"),
    "huge": ("4.csv", line(1, "1,1e39"), "4.csv, line 1: .*got '1e39'"),
    "quote": ("4.csv", line(2, '"1,2'), "4.csv: expected a CSV file"),
    "no text": ("4.csv", lambda c: "\udcff", "4.csv: expected a CSV file"),
    "columns": ("index.csv", line(1, "file,lable"), "index.csv, line 1: .*file,label.*lable"),
    "no label": ("index.csv", line(5, "3.csv,"), "index.csv, line 5: expected a label"),
    "nan as label": ("index.csv", line(5, "3.csv,NaN"), "index.csv, line 5: .*label, got NaN"),
    "no column": ("index.csv", line(5, "3.csv"), "index.csv, line 5: expected file,label"),
    "twice": ("index.csv", line(5, "./2.csv,a"), r"line 5: .*2.csv a second time.*line 4\)"),
    "no sequence": ("index.csv", line(5, "31.csv,a"), "index.csv, line 5: .*31.csv, found no"),
    "no entry": ("index.csv", line(5, ""), "index.csv, line 5: expected file,label"),
    "unlisted": ("more.csv", lambda c: "1,2", "index.csv: expected a label for every .*more.csv"),
    "mixed labels": ("index.csv", line(9, "7.csv,1"), "index.csv, line 9: .*text.*line 2, got '1'"),
    "no rows": ("index.csv", lambda c: "file,label", "index.csv: .*got none"),
    "empty index": ("index.csv", lambda c: "", "index.csv: .*empty"),
    "one class": ("index.csv", lambda c: re.sub(",[bc]", ",a", c), "two classes.*got 'a' alone"),
}


@pytest.mark.parametrize("fault", SEQUENCE_FAULTS)
def test_a_faulty_sequence_is_reported_with_file_and_line(fault, sequences):
    file, change, found = SEQUENCE_FAULTS[fault]
    path = sequences / file
    content = path.read_text() if path.exists() else ""
    path.write_text(change(content), encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DataError, match=rf"^{re.escape(str(sequences))}[^\n]*$") as error:
        load(sequences)
    error.match(found)


def test_a_split_that_does_not_exist_is_reported_with_its_line(sequences):
    write_index(sequences, ["0.csv,a,train", "1.csv,b,tset"], "file,label,split")
    with pytest.raises(DataError, match=r"index.csv, line 3: expected a split among .*got tset"):
        load(sequences)


def test_a_group_in_two_parts_is_reported_with_its_line(sequences):
    lines = [f"{i}.csv,{'ab'[i % 2]},{i // 10},{'train' if i < 25 else 'test'}" for i in range(30)]
    write_index(sequences, lines, "file,label,group,split")
    with pytest.raises(
        DataError, match=r"index.csv, line 27: .*got 2 in (train|validation) and in test"
    ):
        load(sequences)


def test_a_class_that_training_never_sees_is_reported_with_its_line(sequences):
    lines = [f"{i}.csv,{'ab'[i % 2] if i < 29 else 'c'},train" for i in range(30)]
    lines[29] = "29.csv,c,test"
    write_index(sequences, lines, "file,label,split")
    with pytest.raises(DataError, match=r"index.csv, line 31: .*training samples.*got 'c' in test"):
        load(sequences)


def test_leading_zeros_make_a_label_text(sequences):
    write_index(sequences, [f"{i}.csv,{'01' if i % 2 else '1'}" for i in range(30)])
    with pytest.raises(DataError, match=r"line 3: expected an integer as label.*got '01'"):
        load(sequences)
    write_index(sequences, [f"{i}.csv,{'01' if i % 2 else '02'}" for i in range(30)])
    assert load(sequences).facts["classes"] == ["01", "02"]


def bad(array, index, value):
    array = array.astype(np.float64)
    array[index] = value
    return array


ARRAY_FAULTS = {
    "nan": ("x", lambda x: bad(x, (4, 2, 1), np.nan), "x: .*nan in sample 4, step 2, feature 1"),
    "huge": ("x", lambda x: bad(x, (4, 2, 1), 1e300), "x: .*inf in sample 4"),
    "one feature": ("x", lambda x: x[:, :, 0], r"x: .*\(30, 7\); for one .*x\[:, :, None\]"),
    "empty": ("x", lambda x: x[:0], r"x: .*none of them 0.*\(0, 7, 2\)"),
    "text": ("x", lambda x: x.astype(str), "x: expected real numbers, got the type <U"),
    "objects": ("x", lambda x: x.astype(object), "all.npz: .*without unpickling"),
    "fewer labels": ("y", lambda y: y[:-1], "y: expected one .* 30 sequences, got 29"),
    "no label": ("y", lambda y: np.where(np.arange(30) == 4, "", y), "y: expected a label.*mple 4"),
    "nan as label": ("y", lambda y: np.where(np.arange(30) == 4, "nan", y), "y: .*nan in sample 4"),
    "real labels": ("y", lambda y: np.arange(30) / 2, 'y: .*got float64.*metric = "mse"'),
    "two columns": ("y", lambda y: np.stack([y, y], 1), r"y: .*got shape \(30, 2\)"),
    "one class": ("y", lambda y: np.zeros(30, int), "two classes or more, got 0 alone"),
}


@pytest.mark.parametrize("fault", ARRAY_FAULTS)
def test_a_faulty_array_is_reported_with_file_key_and_sample(fault, arrays):
    key, change, found = ARRAY_FAULTS[fault]
    with np.load(arrays / "all.npz") as whole:
        content = dict(whole)
    np.savez(arrays / "all.npz", **content | {key: change(content[key])})
    with pytest.raises(DataError, match=rf"^{re.escape(str(arrays))}[^\n]*$") as error:
        load(arrays)
    error.match(found)


def damage(content):
    return content[: len(content) // 2]


@pytest.mark.parametrize("content", [b"", b"<html>", pickle.dumps({"no": "array"}), None])
@pytest.mark.parametrize("file", ["all.npz", "x.npy"])
def test_a_damaged_array_file_is_reported(file, content, arrays, inputs):
    np.save(arrays / "x.npy", inputs)
    path = arrays / file
    path.write_bytes(damage(path.read_bytes()) if content is None else content)
    name = file if file == "x.npy" else "all.npz:x"
    write_toml(arrays, f'inputs = "{name}"\nlabels = "all.npz:y"')
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}: expected arrays"):
        load(arrays)


def test_a_zip_archive_under_the_name_of_an_array_is_reported(arrays):
    (arrays / "all.npz").rename(arrays / "all.npy")
    write_toml(arrays, 'inputs = "all.npy"\nlabels = "all.npy"')
    with pytest.raises(DataError, match=r"all.npy: expected .*\(x, y, who, z\), got none"):
        load(arrays)


ARRAYS = 'inputs = "all.npz:x"\nlabels = "all.npz:y"\n'
TOML_FAULTS = {
    "no toml": ("inputs =", "line 1|end of document"),
    "unknown": (ARRAYS + "metrik = 1", "keys among inputs, .*got metrik; did you mean metric?"),
    "unknown in test": (ARRAYS + "test = {input = 1}", "test: expected keys among inputs, labels,"),
    "table without labels": (
        ARRAYS + 'test = {inputs = "all.npz:x"}',
        "test: expected inputs and labels, or horizon, got no labels",
    ),
    "no array in test": (
        ARRAYS + 'test = {inputs = "x.mat", labels = "all.npz:y"}',
        r'test: expected "FILE.npy" or .* for inputs, got .x.mat.',
    ),
    "number as text in test": (
        ARRAYS + 'test = {inputs = "x.npy", labels = 1}',
        "expected text for test.labels, got 1",
    ),
    "number as text": ("index = 1", "expected text for index, got 1"),
    "negative lines": ('index = "i"\nheader_lines = -1', "header_lines >= 0, got -1"),
    "type": (ARRAYS + "test = true", "expected a fraction or a table for test, got True"),
    "no labels": ('inputs = "all.npz:x"', "inputs and labels, or index, got no labels"),
    "both": (ARRAYS + 'index = "i"', "got index and inputs"),
    "metric": (ARRAYS + 'metric = "f1"', '"accuracy" or "mse", got .f1.'),
    "marks under the old key": (
        ARRAYS + "missing = -9999",
        'missing = "refuse", "carry" or "mask", got -9999; what .* is stated by gaps = -9999$',
    ),
    "marks of text under the old key": (
        ARRAYS + "missing = ['x', 1]",
        r"""got \['x', 1\]; what .* by gaps = \["x", 1\]$""",
    ),
    "share": (ARRAYS + "test = 1.5", "test between 0 and 1.*got 1.5"),
    "classes": (ARRAYS + 'classes = ["a"]', "two or more different classes"),
    "lists as classes": (ARRAYS + "classes = [[0], [1]]", "all text or all integers"),
    "training as test": (
        ARRAYS + 'test = {inputs = "all.npz:x", labels = "all.npz:y"}',
        "samples of their own",
    ),
    "of no use": (ARRAYS + 'sequences = "."', "sequences together with index alone"),
    "all held out": (ARRAYS + "test = 0.99", "left for training after test = 0.99"),
    "other classes": (ARRAYS + 'classes = ["a", "b"]', "all.npz:y, sample 2 .*among.*got 'c'"),
    "no key": (ARRAYS.replace(":y", ":u"), r"KEY.*\(x, y, who, z\), got u"),
    "which key": (ARRAYS.replace(":y", ""), "KEY.*got none"),
    "no file": (ARRAYS.replace("all", "al"), "al.npz, found no such file"),
    "no array": (ARRAYS.replace("all.npz:x", "all.mat"), r'"FILE.npy" or "FILE.npz:KEY".*all.mat'),
}


@pytest.mark.parametrize("fault", TOML_FAULTS)
def test_a_faulty_description_is_reported_with_its_file(fault, arrays):
    text, found = TOML_FAULTS[fault]
    write_toml(arrays, text)
    with pytest.raises(DataError, match=re.escape(str(arrays))) as error:
        load(arrays)
    error.match(found)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": "folder"}, r"expected a data set for the task 'folder', got none; .*--folder\)"),
        (
            {"name": "digits", "folder": "x"},
            "folder x has no effect with the task digits; remove it, .* folder",
        ),
        ({"name": "folder", "folder": "/no/such"}, "expected a description .*/no/such, found no.*"),
    ],
)
def test_a_folder_belongs_to_its_task(options, sentence):
    with pytest.raises(DataError, match=f"^{sentence}$"):
        tasks.load(**options)


# runs


def test_a_run_knows_its_data_by_content_and_not_by_place(sequences, tmp_path):
    def described(folder):
        task = load(folder)
        return describe(TrainConfig.of(task="folder", folder=str(folder)), task.recipe, task)

    there = tmp_path / "moved"
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps(described(sequences)))
    there.mkdir()
    for path in sequences.glob("*.*"):
        path.rename(there / path.name)
    check_same_run(run, described(there))
    np.savetxt(there / "0.csv", np.zeros((7, 2)), delimiter=",")
    with pytest.raises(ValueError, match=r"got another: the samples have changed; give"):
        check_same_run(run, described(there))


def two_commands(text):
    """What is typed to train and to predict, in the only block that does both."""
    block = r"```bash\npython scripts/train.py (.*)\npython scripts/predict.py (.*)\n```"
    (commands,) = re.findall(block, text)
    return commands


@pytest.mark.slow
def test_the_example_of_the_documentation_works_as_typed(tmp_path, monkeypatch, capfd):
    text = (ROOT / "docs/own_data.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    makes_data, in_python, streams = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(makes_data, {})
    files = re.findall(r"`(gestures/\w+\.toml)`[^`]*:\n\n```toml\n(.*?)```", text, re.DOTALL)
    assert len(files) == text.count("```toml")
    gestures, states, none = {"push", "rest", "wave"}, {"moves", "rests"}, set()
    for file, content in files:
        Path(file).write_text(content)
        expected = states if "state" in file else none if "forecast" in file else gestures
        assert {*load(file).facts["classes"]} == expected
    commands = re.findall(r"^python scripts/(\w+).py (.*)$", text, re.MULTILINE)
    (train, predict), evaluate = two_commands(text), commands[-1]
    trained = [parse(TrainConfig, shlex.split(line)) for name, line in commands if name == "train"]
    check = next(config for config in trained if config.run.check_only)
    assert train_once(check) == 0
    assert not Path("runs").exists()
    quick = ["--hidden", "16", "--epochs", "20"]
    assert train_once(parse(TrainConfig, [*shlex.split(train), *quick])) == 0
    assert json.loads(Path("runs/first/summary.json").read_text())["test"] > 0.8
    assert predict_command.run_command_line(shlex.split(predict)) == 0
    rows = Path("predictions.csv").read_text().splitlines()
    assert (rows[0], len(rows)) == ("id,answer,probability", 121)
    assert evaluate[0] == "evaluate"
    assert evaluate_command.run_command_line(shlex.split(evaluate[1])) == 0
    exec(in_python, {})
    live = {}
    exec(streams, live)
    sequence = np.load("gestures/all.npz")["signals"][1:2]
    assert live["answer"] == sbo_jax.load("runs/first").predict(sequence)[0]
    assert live["probabilities"].shape == (1, 3)
    for config in trained:
        assert {*load(config.data.folder).facts["classes"]} in (gestures, states, none)
    task = load("gestures/table.toml")
    assert (task.length, task.is_equal, task.in_features) == (40, False, 3)


def test_a_number_to_predict_beyond_float32_is_called_large_and_not_missing(arrays):
    with np.load(arrays / "all.npz") as whole:
        content = dict(whole)
    np.savez(arrays / "all.npz", **content | {"z": np.where(np.arange(30) == 4, 1e300, 1.0)})
    write_toml(arrays, 'inputs = "all.npz:x"\nlabels = "all.npz:z"\nmetric = "mse"')
    with pytest.raises(DataError, match=r"range of float32, got 1e\+300 in sample 4"):
        load(arrays)


def test_classes_of_another_kind_than_the_labels_are_told_apart(arrays):
    with np.load(arrays / "all.npz") as whole:
        content = dict(whole)
    np.savez(arrays / "all.npz", **content | {"y": np.arange(30) % 2})
    write_toml(arrays, 'inputs = "all.npz:x"\nlabels = "all.npz:y"\nclasses = ["0", "1"]')
    with pytest.raises(DataError, match="classes that are integers as the labels are"):
        load(arrays)


def test_a_description_may_begin_with_a_mark_of_its_encoding(sequences):
    path = sequences / "dataset.toml"
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert load(sequences).in_features == 2


def test_words_above_the_numbers_are_named_and_skipped_by_a_line(sequences):
    path = sequences / "4.csv"
    path.write_text("# note\n" + path.read_text())
    with pytest.raises(DataError, match=r"4.csv, line 1: .*'# note'; header_lines = 1 skips it"):
        load(sequences)


def test_whole_numbers_to_predict_are_not_said_to_be_held_out_by_class(tmp_path, rng):
    np.savez(tmp_path / "all.npz", x=rng.normal(size=(40, 4, 2)), y=rng.integers(5, size=40))
    text = 'inputs = "all.npz:x"\nlabels = "all.npz:y"\nmetric = "mse"'
    write_toml(tmp_path, text)
    assert load(tmp_path).facts["test"] == "0.2 of the samples"
    write_toml(tmp_path, text.replace("mse", "accuracy"))
    assert load(tmp_path).facts["test"] == "0.2 of every class"
