"""Laws of the readers of the UCR and UEA archives; tests/aeon_archives.py compares them to aeon."""

import re

import numpy as np
import pytest
from task_properties import check_properties

from sbo_jax import tasks
from sbo_jax.tasks._types import DataError

NAMES = ("Sit", "walk", "NA")


def load(path, **options):
    return tasks.load("folder", folder=path, **options)


def cells(sequence):
    """The numbers of every feature of [T, d] as text that is exact."""
    return [",".join("?" if x != x else repr(float(x)) for x in column) for column in sequence.T]


def ts(sequences, labels, head="@classLabel true Sit walk NA"):
    rows = [":".join([*cells(s), str(y)]) for s, y in zip(sequences, labels, strict=True)]
    return "\n".join(["# made up", "@problemName Own", "@timeStamps false", head, "@data", *rows])


def arff(sequences, labels, kind="{Sit,walk,NA}"):
    num_steps, num_features = sequences[0].shape
    steps = [f"@attribute t{i} numeric" for i in range(num_steps)]
    if num_features > 1:
        steps = ["@attribute all relational", *steps, "@end all"]
    texts = [r"\n".join(cells(sequence)) for sequence in sequences]
    quote = "'" if num_features > 1 else ""
    rows = [f"{quote}{text}{quote},{y}" for text, y in zip(texts, labels, strict=True)]
    return "\n".join(["% made up", "@relation own", *steps, f"@attribute y {kind}", "@data", *rows])


def draw(rng, count, num_features, lengths=(5, 6)):
    """Sequences of features of any size, and labels: all three names in turn."""
    scale = 10 ** rng.uniform(-9, 9, num_features)
    sizes = rng.integers(*lengths, count)
    sequences = [rng.normal(size=(size, num_features)) * scale for size in sizes]
    return sequences, [NAMES[i % 3] for i in range(count)]


def write(folder, rng, written=ts, num_features=2, lengths=(5, 6), name="Own", ending=".ts"):
    """Thirty sequences for train and twelve for test."""
    folder.mkdir(exist_ok=True)
    parts = {"TRAIN": draw(rng, 30, num_features, lengths)}
    parts["TEST"] = draw(rng, 12, num_features, lengths)
    for part, (sequences, labels) in parts.items():
        (folder / f"{name}_{part}{ending}").write_text(written(sequences, labels))
    return parts


def bits(sequence):
    return np.ascontiguousarray(sequence).tobytes()


def samples(*sources):
    return {bits(x): int(y) for s in sources for x, y in zip(s.inputs, s.targets, strict=True)}


def expected(part, classes):
    return {bits(x): list(classes).index(y) for x, y in zip(*part, strict=True)}


LAYOUTS = {
    "one feature": (ts, 1, (5, 6), ".ts"),
    "three features": (ts, 3, (5, 6), ".ts"),
    "unequal lengths": (ts, 2, (1, 9), ".ts"),
    "arff": (arff, 1, (5, 6), ".arff"),
    "arff of three features": (arff, 3, (5, 6), ".arff"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_number_is_read_as_it_was_written_and_the_split_is_that_of_the_files(
    layout, rng, tmp_path
):
    written, num_features, lengths, ending = LAYOUTS[layout]
    parts = write(tmp_path, rng, written, num_features, lengths, ending=ending)
    task = load(tmp_path / f"Own_TRAIN{ending}")
    assert task.facts["classes"] == sorted(NAMES)
    assert samples(task.train, task.validation) == expected(parts["TRAIN"], sorted(NAMES))
    assert samples(task.test) == expected(parts["TEST"], sorted(NAMES))
    assert task.facts["counts"] == {"train": 24, "validation": 6, "test": 12}
    assert (task.in_features, task.out_features) == (num_features, 3)
    check_properties("folder", task)


@pytest.mark.parametrize("place", [".", "Own"])
def test_a_description_names_the_data_set_and_adds_what_the_files_lack(place, rng, tmp_path):
    write(tmp_path / place, rng)
    toml = 'archive = "Own"\nvalidation = 0.5\nclasses = ["walk", "Sit", "NA"]'
    (tmp_path / "dataset.toml").write_text(toml)
    task = load(tmp_path)
    assert task.facts["counts"] == {"train": 15, "validation": 15, "test": 12}
    assert task.facts["classes"] == ["walk", "Sit", "NA"]


def test_an_ending_chooses_among_the_formats(rng, tmp_path):
    own = write(tmp_path, rng)
    other = write(tmp_path, rng, arff, 1, ending=".arff")
    for name, parts in {"Own": own, "Own.ts": own, "Own.arff": other}.items():
        (tmp_path / "dataset.toml").write_text(f'archive = "{name}"')
        assert samples(load(tmp_path).test) == expected(parts["TEST"], sorted(NAMES))


def test_whole_numbers_are_classes_in_the_order_of_numbers(rng, tmp_path):
    for part in ("TRAIN", "TEST"):
        sequences, _ = draw(rng, 30, 1)
        text = ts(sequences, [(10, 9, -1)[i % 3] for i in range(30)], "@classLabel true 9 10 -1")
        (tmp_path / f"Own_{part}.ts").write_text(text)
    assert load(tmp_path / "Own_TEST.ts").facts["classes"] == [-1, 9, 10]


@pytest.mark.parametrize(("written", "head"), [(ts, "@targetLabel true"), (arff, "numeric")])
def test_numbers_as_labels_are_regressed_without_a_word(written, head, rng, tmp_path):
    ending = f".{written.__name__}"
    for part in ("TRAIN", "TEST"):
        sequences, _ = draw(rng, 20, 1)
        labels = [float(np.float32(x.sum())) for x in sequences]
        (tmp_path / f"Own_{part}{ending}").write_text(written(sequences, labels, head))
    task = load(tmp_path / f"Own_TRAIN{ending}")
    assert (task.metric, task.out_features) == ("mse", 1)
    np.testing.assert_array_equal(task.test.targets[:, 0], np.array(labels, np.float32))


def test_comments_may_be_of_any_encoding_and_stand_anywhere(rng, tmp_path):
    write(tmp_path, rng)
    whole = load(tmp_path / "Own_TRAIN.ts").facts["sha256"]
    for path in tmp_path.iterdir():
        head, _, rows = path.read_text().partition("@data\n")
        text = f"{head}\n\n% caf\udce9\n@DATA\n# more\n{rows}\n\n"
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
    assert load(tmp_path / "Own_TRAIN.ts").facts["sha256"] == whole


# what is refused


def replaced(old, new):
    return lambda text: text.replace(old, new, 1)


def last_row(change):
    """A change of the last line, which has two features."""

    def apply(text):
        *lines, row = text.split("\n")
        return "\n".join([*lines, change(row)])

    return apply


FAULTS = {
    "time stamps": (replaced("false", "True"), "line 3: expected @timeStamps false, got true; wri"),
    "no labels": (replaced("true", "false"), "expected labels, stated by .*, got none"),
    "no data": (lambda t: t.split("@data")[0], "expected a line @data .*, got none"),
    "no rows": (lambda t: t.split("\n1")[0].split("@data")[0] + "@data", "line for every sequence"),
    "no colon": (
        last_row(lambda r: "1,2"),
        "line 35: expected the numbers .* colons, got no colon",
    ),
    "features": (last_row(lambda r: "1,2:NA"), "line 35: expected 2 features as .*, got 1"),
    "lengths": (last_row(lambda r: "1,2:3:NA"), "line 35: expected as many .*, got 1 and 2"),
    "text": (last_row(lambda r: "1,x:3,4:NA"), "line 35: expected finite numbers .*, got 'x'"),
    "no number": (last_row(lambda r: "1,:3,4:NA"), "line 35: expected finite numbers .*, got ''"),
    "underscore": (last_row(lambda r: "1,2:1_0,4:NA"), "line 35: .*, got '1_0'"),
    "huge": (last_row(lambda r: "1,2:1e39,4:NA"), "line 35: .*, got '1e39'"),
    "infinite": (last_row(lambda r: "1,2:3,-inf:NA"), "line 35: .*, got '-inf'"),
    "unknown label": (
        last_row(lambda r: "1,2:3,4:na2"),
        r"line 35: .*\(Sit, walk, NA\), got 'na2'",
    ),
    "no label": (last_row(lambda r: "1,2:3,4:"), "line 35: expected a label, got none"),
    "gap as label": (last_row(lambda r: "1,2:3,4:?"), r"line 35: .* got \?; fill the gap, or name"),
    "bytes": (last_row(lambda r: "1,2:3,4:\udce9"), "expected text in UTF-8, got otherwise"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_file_is_reported_with_its_line(fault, rng, tmp_path):
    change, sentence = FAULTS[fault]
    write(tmp_path, rng)
    path = tmp_path / "Own_TRAIN.ts"
    path.write_text(change(path.read_text()), encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}(, line|: )[^\n]*$") as error:
        load(path)
    error.match(sentence)


ARFF_FAULTS = {
    "attributes": (1, last_row(lambda r: f"1,{r}"), "line 39: expected 6 values, one for .* got 7"),
    "no classes": (
        1,
        replaced("{Sit,walk,NA}", "string"),
        "expected a last attribute .*got string",
    ),
    "no attribute": (1, lambda t: "@relation x\n@data\n1,2", "expected a last .*, got none"),
    "no quotes": (2, last_row(lambda r: r.replace("'", "")), "line 41: expected .*in quotes"),
}


@pytest.mark.parametrize("fault", ARFF_FAULTS)
def test_a_faulty_arff_file_is_reported_with_its_line(fault, rng, tmp_path):
    num_features, change, sentence = ARFF_FAULTS[fault]
    write(tmp_path, rng, arff, num_features, ending=".arff")
    path = tmp_path / "Own_TRAIN.arff"
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}") as error:
        load(path)
    error.match(sentence)


TOML_FAULTS = {
    "test": ('archive = "Own"\ntest = 0.2', "expected archive without test, which its files say"),
    "index": ('archive = "Own"\nindex = "i"', "expected archive without index, .*leave it out"),
    "metric": (
        'archive = "Own"\nmetric = "mse"',
        '"accuracy", which Own_TRAIN.ts states, got "mse"',
    ),
    "no files": ('archive = "Other"', "Other_TRAIN.ts or .arff and the .* found neither"),
    "half": ('archive = "Half"', "Half_TRAIN.ts: expected Half_TEST.ts beside it, found no such"),
    "classes": ('archive = "Numbers"\nclasses = ["a", "b"]', "expected no classes, as .* Numbers_"),
}


@pytest.mark.parametrize("fault", TOML_FAULTS)
def test_a_faulty_description_of_an_archive_is_reported(fault, rng, tmp_path):
    text, sentence = TOML_FAULTS[fault]
    write(tmp_path, rng)
    (tmp_path / "Half_TRAIN.ts").touch()
    for part in ("TRAIN", "TEST"):
        (tmp_path / f"Numbers_{part}.ts").write_text("@targetLabel true\n@data\n1:2")
    (tmp_path / "dataset.toml").write_text(text)
    with pytest.raises(DataError, match=re.escape(str(tmp_path))) as error:
        load(tmp_path)
    error.match(sentence)


def test_a_number_to_predict_must_be_one(tmp_path):
    for part in ("TRAIN", "TEST"):
        (tmp_path / f"Own_{part}.ts").write_text("@targetLabel true\n@data\n1:2\n3:x")
    with pytest.raises(DataError, match=r"TRAIN.ts, line 4: expected a finite .* label, got 'x'"):
        load(tmp_path / "Own_TRAIN.ts")


def test_a_file_that_is_neither_train_nor_test_is_refused(tmp_path):
    (tmp_path / "Own.ts").touch()
    with pytest.raises(DataError, match=r"expected NAME_TRAIN.ts or NAME_TEST.ts, got Own.ts"):
        load(tmp_path / "Own.ts")
