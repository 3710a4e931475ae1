"""Nothing in a user's tables is guessed; an error proposes the line that decides."""

import numpy as np
import pytest

from sbo_jax import tasks
from sbo_jax.tasks._types import DataError

NAMES = np.array(["rest", "wave", "push"])[np.arange(30) % 3]


def load(folder, **options):
    return tasks.load("folder", folder=folder, **options)


def write(folder, inputs, labels=NAMES, toml="", separator=",", decimal=".", form="%.3f"):
    """The inputs as CSV files in this notation."""
    for number, sequence in enumerate(inputs):
        lines = [separator.join((form % x).replace(".", decimal) for x in row) for row in sequence]
        (folder / f"{number}.csv").write_text("\n".join(lines))
    rows = [separator.join([f"{i}.csv", str(x)]) for i, x in enumerate(labels)]
    (folder / "index.csv").write_text("\n".join([separator.join(["file", "label"]), *rows]))
    (folder / "dataset.toml").write_text(f'index = "index.csv"\n{toml}')


def write_arrays(folder, inputs, labels=NAMES, toml=""):
    np.savez(folder / "all.npz", x=inputs, y=labels)
    (folder / "dataset.toml").write_text(f'inputs = "all.npz:x"\nlabels = "all.npz:y"\n{toml}')


@pytest.fixture
def inputs(rng):
    return rng.normal(size=(30, 7, 2)).round(3)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("decimal", [".", ","])
def test_a_notation_that_is_stated_is_read(separator, decimal, inputs, tmp_path):
    mark = "\\t" if separator == "\t" else separator
    toml = f'separator = "{mark}"\ndecimal = "{decimal}"'
    write(tmp_path, inputs, toml=toml, separator=separator, decimal=decimal)
    ours = load(tmp_path)
    write_arrays(tmp_path, inputs)
    theirs = load(tmp_path)
    np.testing.assert_array_equal(ours.train.inputs, theirs.train.inputs)


@pytest.mark.parametrize("features", [1, 2])
@pytest.mark.parametrize("form", ["%.3f", "%.2f"])
def test_a_decimal_comma_does_not_make_two_features(features, form, tmp_path, rng):
    write(tmp_path, rng.normal(size=(30, 7, features)), decimal=",", form=form)
    with pytest.raises(
        DataError, match=r"csv, line 1: .*decimal = \"\.\".*decimal = \",\" and sep"
    ):
        load(tmp_path)


def test_whole_numbers_that_are_stated_to_be_whole_are_read(tmp_path, rng):
    whole = rng.integers(10, 99, size=(30, 7, 2)).astype(float)
    write(tmp_path, whole, form="%03.0f", toml='decimal = "."')
    assert load(tmp_path).in_features == 2


def test_whole_numbers_of_several_lengths_need_no_statement(tmp_path, rng):
    whole = rng.integers(0, 2000, size=(30, 7, 2)).astype(float)
    whole[:, 0] = [7, 11]
    whole[:, 1] = [700, 3]
    write(tmp_path, whole, form="%.0f")
    assert load(tmp_path).in_features == 2


NOTATIONS = {
    "comma in a number": ('separator = ";"', ";", ",", r'decimal = ","'),
    "thousands": ('separator = ";"\ndecimal = ","', ";", ".", "got '-?[0-9]"),
    "another separator": ("", ";", ".", 'separator = ";" in dataset.toml'),
    "a tab": ("", "\t", ".", r'separator = "\\t" in dataset.toml'),
    "two meanings": ('decimal = ","', ",", ".", 'try adding separator = ";"'),
    "an unknown mark": ('separator = "x"', ",", ".", "separator among"),
    "an unknown point": ('decimal = "x"', ",", ".", "decimal = "),
}


@pytest.mark.parametrize("kind", NOTATIONS)
def test_another_notation_is_refused_with_the_line_to_add(kind, inputs, tmp_path):
    toml, separator, decimal, sentence = NOTATIONS[kind]
    write(tmp_path, inputs, toml=toml, separator=separator, decimal=decimal)
    index = (tmp_path / "index.csv").read_text()
    if "separator" not in toml:
        (tmp_path / "index.csv").write_text(index.replace(separator, ","))
    with pytest.raises(DataError, match=sentence):
        load(tmp_path)


MARKS = ["NA", "na", "N/A", "NULL", "None", "<NA>", "?", "#N/A", "NaN"]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("layout", [write, write_arrays])
def test_a_mark_of_a_gap_is_no_class_unless_it_is_named_as_one(mark, layout, inputs, tmp_path):
    labels = np.where(NAMES == "push", mark, NAMES)
    layout(tmp_path, inputs, labels)
    with pytest.raises(DataError, match=r"expected a label, got .*name it in classes"):
        load(tmp_path)
    layout(tmp_path, inputs, labels, f'classes = ["{mark}", "rest", "wave"]')
    assert load(tmp_path).facts["classes"] == [mark, "rest", "wave"]


def write_steps(folder, inputs, labels, toml=""):
    write_arrays(folder, inputs, labels, f"per_step = true\n{toml}")


def write_table(folder, inputs, labels, toml=""):
    rows = [
        f"{run},{x},{y},{label}"
        for run, (steps, names) in enumerate(zip(inputs, labels, strict=True))
        for (x, y), label in zip(steps, names, strict=True)
    ]
    (folder / "steps.csv").write_text("\n".join(["run,x,y,label", *rows]))
    keys = 'table = "steps.csv"\nsequence = "run"\nlabel = "label"\nper_step = true\n'
    (folder / "dataset.toml").write_text(keys + toml)


@pytest.mark.parametrize("mark", ["null", "None", "NA", "n/a", "?"])
@pytest.mark.parametrize("layout", [write_steps, write_table])
def test_a_class_of_steps_that_looks_like_a_gap_does_not_vanish(
    mark, layout, inputs, tmp_path, rng
):
    labels = np.array(["rest", "wave", mark])[np.arange(210).reshape(30, 7) % 3]
    layout(tmp_path, inputs, labels)
    with pytest.raises(DataError, match=r"expected a label, got .*name it in classes") as error:
        load(tmp_path)
    assert "(from 0)" in str(error.value) or "line 4:" in str(error.value)
    layout(tmp_path, inputs, labels, f'classes = ["{mark}", "rest", "wave"]')
    assert load(tmp_path).facts["classes"] == [mark, "rest", "wave"]
    layout(tmp_path, inputs, labels, f'gaps = "{mark}"')
    assert load(tmp_path).facts["classes"] == ["rest", "wave"]


@pytest.mark.parametrize("missing", ["-9999", "[-9999, 'x']", "-9999.0"])
@pytest.mark.parametrize("layout", [write, write_arrays])
def test_a_number_that_is_stated_as_missing_is_refused(missing, layout, inputs, tmp_path, rng):
    layout(tmp_path, inputs, toml=f"gaps = {missing}")
    assert load(tmp_path).in_features == 2
    sample, step = int(rng.integers(30)), int(rng.integers(7))
    inputs[sample, step, 1] = -9999
    layout(tmp_path, inputs, toml=f"gaps = {missing}")
    place = f"sample {sample}, step {step}, feature 1|{sample}.csv, line {step + 1}"
    with pytest.raises(DataError, match=f"({place}).*") as error:
        load(tmp_path)
    assert "-9999" in str(error.value)


@pytest.mark.parametrize("metric", ["accuracy", "mse"])
@pytest.mark.parametrize("layout", [write, write_arrays])
def test_a_label_that_is_stated_as_missing_is_refused(metric, layout, inputs, tmp_path):
    labels = np.where(np.arange(30) == 4, -9999, np.arange(30) % 3)
    layout(tmp_path, inputs, labels, f'gaps = -9999\nmetric = "{metric}"')
    with pytest.raises(DataError, match=r"label, got -9999( in sample 4)?; fill the gap"):
        load(tmp_path)


@pytest.mark.parametrize("stated", ["0", "[-9999, 0.0]"])
@pytest.mark.parametrize("layout", [write, write_arrays, write_steps, write_table])
def test_a_class_may_be_written_as_a_gap_of_the_inputs_where_it_is_named(
    stated, layout, inputs, tmp_path
):
    inputs += 10  # no zeros
    labels = np.arange(30) % 3
    if layout in (write_steps, write_table):
        labels = np.repeat(labels[:, None], 7, axis=1)
    layout(tmp_path, inputs, labels, f"gaps = {stated}\nclasses = [0, 1, 2]")
    task = load(tmp_path)
    assert task.facts["classes"] == [0, 1, 2]
    assert sorted(np.unique(np.concatenate([np.ravel(y) for y in task.train.targets]))) == [0, 1, 2]


@pytest.mark.parametrize("name", ["more.CSV", "more.txt", "more.TXT", "more.tsv", "sub/more.Csv"])
def test_a_sequence_that_no_line_labels_is_noticed(name, inputs, tmp_path):
    write(tmp_path, inputs)
    (tmp_path / "README.txt").write_text("who made this")
    load(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / name).write_text("1,2")
    with pytest.raises(DataError, match=rf"got none for {tmp_path}/{name}; label it, or move"):
        load(tmp_path)


@pytest.mark.parametrize("layout", [write, write_arrays])
def test_a_class_that_training_never_sees_is_refused(layout, inputs, tmp_path):
    layout(tmp_path, inputs, toml='classes = ["rest", "wave", "push", "jump"]')
    with pytest.raises(DataError, match=r"of every class, got none of 'jump'; leave it out"):
        load(tmp_path)


@pytest.mark.parametrize("layout", [write, write_arrays])
def test_spaces_around_a_label_mean_nothing(layout, inputs, tmp_path):
    labels = np.where(np.arange(30) % 2, np.char.add(NAMES, " "), np.char.add("\t", NAMES))
    layout(tmp_path, inputs, labels, 'classes = ["rest ", "wave", "push"]')
    assert load(tmp_path).facts["classes"] == ["rest", "wave", "push"]
    assert len(set(load(tmp_path).train.targets.tolist())) == 3


@pytest.mark.parametrize("name", ["validation", "test"])
def test_no_samples_at_all_has_a_way_out(name, inputs, tmp_path):
    write_arrays(tmp_path, inputs, toml=f"{name} = 0")
    with pytest.raises(DataError, match=f"{name} = 1e-9 for one sample, or {name} = {{inputs"):
        load(tmp_path)
    write_arrays(tmp_path, inputs, toml=f"{name} = 1e-9")
    assert load(tmp_path).facts["counts"][name] == 1


def test_a_decimal_point_where_a_comma_was_stated_is_called_one(inputs, tmp_path):
    toml = 'separator = ";"\ndecimal = ","'
    write(tmp_path, inputs, toml=toml, separator=";", decimal=".")
    with pytest.raises(DataError, match=r"line 1.*decimal = \"\.\" in dataset.toml"):
        load(tmp_path)
