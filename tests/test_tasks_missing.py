"""Laws of the key `missing`: what is done about gaps, for every layout, against plain loops."""

import math
import re

import numpy as np
import pytest

from sbo_jax import tasks
from sbo_jax._words import counted
from sbo_jax.tasks._types import DataError
from sbo_jax.tasks.account import account
from sbo_jax.tasks.sources import ragged

COUNT, FEATURES = 30, 3
PARTS = ("train", "validation", "test")
CLASSES = np.arange(COUNT) % 2


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch, rng):
    monkeypatch.setattr(ragged, "_BLOCK", int(rng.integers(1, 40)))


@pytest.fixture
def sequences(rng):
    """Thirty sequences of 4 to 12 steps: single gaps, steps of gaps alone, gaps at the start."""
    drawn = []
    for number in range(COUNT):
        sequence = rng.normal(size=(rng.integers(4, 13), FEATURES)).round(3)
        sequence[rng.random(sequence.shape) < 0.2] = np.nan
        sequence[rng.random(len(sequence)) < 0.2] = np.nan
        sequence[: number % 3, 1:] = np.nan
        sequence[-1] = rng.normal(size=FEATURES).round(3)
        drawn.append(sequence)
    return drawn


def write_arrays(folder, sequences, toml):
    offsets = np.cumsum([0, *map(len, sequences)])
    np.savez(folder / "all.npz", x=np.concatenate(sequences), y=CLASSES, offsets=offsets)
    keys = 'inputs = "all.npz:x"\nlabels = "all.npz:y"\noffsets = "all.npz:offsets"\n'
    (folder / "dataset.toml").write_text(keys + toml)
    return folder


def text(number, gap=""):
    return gap if math.isnan(number) else repr(float(number))


def write_sequences(folder, sequences, toml, gap=""):
    for number, sequence in enumerate(sequences):
        lines = [",".join(text(x, gap) for x in row) for row in sequence]
        (folder / f"{number}.csv").write_text("\n".join(lines))
    rows = [f"{number}.csv,{label}" for number, label in enumerate(CLASSES)]
    (folder / "index.csv").write_text("\n".join(["file,label", *rows]))
    (folder / "dataset.toml").write_text(f'index = "index.csv"\n{toml}')
    return folder


def write_table(folder, sequences, toml):
    rows = [
        ",".join([f"s{number:02}", str(CLASSES[number]), *map(text, row)])
        for number, sequence in enumerate(sequences)
        for row in sequence
    ]
    (folder / "all.csv").write_text("\n".join(["run,kind,a,b,c", *rows]))
    keys = 'table = "all.csv"\nsequence = "run"\nlabel = "kind"\n'
    (folder / "dataset.toml").write_text(keys + toml)
    return folder


def write_archive(folder, sequences, toml):
    for part in ("TRAIN", "TEST"):
        rows = [
            ":".join([*(",".join(text(x, "?") for x in column) for column in sequence.T), str(y)])
            for sequence, y in zip(sequences, CLASSES, strict=True)
        ]
        (folder / f"Own_{part}.ts").write_text("\n".join(["@data", *rows]))
    (folder / "dataset.toml").write_text(f'archive = "Own"\n{toml}')
    return folder


LAYOUTS = [write_arrays, write_sequences, write_table, write_archive]


def treated(sequence, how):
    """The sequence, the numbers of values carried and of steps left out, value by value."""
    rows, carried, last = [], 0, [math.nan] * FEATURES
    for row in sequence:
        new = []
        for feature, value in enumerate(row):
            if not math.isnan(value):
                last[feature] = value
            elif how == "carry" and not math.isnan(last[feature]):
                value, carried = last[feature], carried + 1
            new.append(value)
        rows += [] if all(map(math.isnan, new)) else [new]
    return np.array(rows), carried, len(sequence) - len(rows)


def load(path, **options):
    return tasks.load("folder", folder=path, **options)


@pytest.mark.parametrize("how", ["mask", "carry"])
@pytest.mark.parametrize("write", LAYOUTS)
def test_gaps_are_treated_as_a_loop_over_the_values_would(write, how, sequences, tmp_path):
    task = load(write(tmp_path, sequences, f'missing = "{how}"'))
    expected = {treated(x, how)[0].tobytes(): y for x, y in zip(sequences, CLASSES, strict=True)}
    raw = {treated(x, how)[0].tobytes(): x for x in sequences}
    assert task.facts["missing"]["treatment"] == how
    for part in PARTS:
        source = getattr(task, part)
        own = [np.ascontiguousarray(x).tobytes() for x in source.inputs]
        assert [expected[x] for x in own] == source.targets.tolist()
        results = [treated(raw[x], how) for x in own]
        assert task.facts["missing"][part] == {
            "gaps": sum(np.isnan(raw[x]).sum(axis=0) for x in own).tolist(),
            "carried": sum(carried for _, carried, _ in results),
            "skipped_steps": sum(skipped for _, _, skipped in results),
        }


def test_a_gap_that_is_left_becomes_the_mean_and_is_indicated(sequences, tmp_path):
    task = load(write_arrays(tmp_path, sequences, 'missing = "mask"'))
    values = np.concatenate(list(task.train.inputs))
    mean, std = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    indicated = np.flatnonzero(np.isnan(values).any(axis=0))
    assert task.facts["indicated"] == indicated.tolist()
    assert task.in_features == FEATURES + len(indicated)
    for number, raw in enumerate(task.test.inputs):
        inputs, _ = task.test.fetch(np.array([number]))
        scaled = np.nan_to_num((raw - mean) / std)
        np.testing.assert_allclose(inputs[0, :, :FEATURES], scaled, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(inputs[0, :, FEATURES:], np.isnan(raw)[:, indicated])


def test_the_account_of_the_data_counts_what_was_done(sequences, tmp_path):
    write_arrays(tmp_path, sequences, 'missing = "carry"\nmax_length = 5\nkeep = "start"')
    task = load(tmp_path)
    results = [treated(sequence, "carry") for sequence in sequences]
    gaps = sum(int(np.isnan(sequence).sum()) for sequence in sequences)
    carried, skipped = (sum(result[which] for result in results) for which in (1, 2))
    excess = [len(result) - 5 for result, _, _ in results if len(result) > 5]
    said = account(task)
    done = f"{carried} carried, {counted(skipped, 'step')} left out"
    assert f". {counted(gaps, 'gap')}: {done}. " in said
    assert f". {counted(len(excess), 'sequence')} cut to 5 steps, by {sum(excess)} in all. " in said
    indicated = len(task.facts["indicated"])
    assert f". 3 features, and indicators of gaps in {indicated} of them. " in said


@pytest.mark.parametrize("end", ["", "\n", " \r\n\n  \n"])
@pytest.mark.parametrize("separator", ["\t", ","])
def test_a_file_may_end_in_a_gap(separator, end, tmp_path, rng):
    for number, values in enumerate(rng.normal(size=(COUNT, 5, 2)).round(3)):
        rows = [separator.join(map(str, row)) for row in values[:-1]]
        rows.append(f"{values[-1, 0]}{separator}")
        (tmp_path / f"{number}.csv").write_text("\n".join(rows) + end)
    index = [f"{number}.csv{separator}{label}" for number, label in enumerate(CLASSES)]
    (tmp_path / "index.csv").write_text("\n".join([f"file{separator}label", *index]))
    stated = f'index = "index.csv"\nseparator = "{separator}"\nmissing = "carry"'
    (tmp_path / "dataset.toml").write_text(stated.replace("\t", "\\t"))
    task = load(tmp_path)
    assert sum(task.facts["missing"][part]["carried"] for part in PARTS) == COUNT
    assert {len(x) for part in PARTS for x in getattr(task, part).inputs} == {5}


def test_gaps_that_training_never_had_become_the_mean_without_an_indicator(tmp_path, rng):
    sequences = [rng.normal(size=(6, FEATURES)) for _ in range(COUNT)]
    held = rng.normal(size=(4, 6, FEATURES))
    held[:, 2, 1] = np.nan
    np.savez(tmp_path / "test.npz", x=held, y=CLASSES[:4])
    toml = 'missing = "mask"\ntest = {inputs = "test.npz:x", labels = "test.npz:y"}'
    task = load(write_arrays(tmp_path, sequences, toml))
    assert task.in_features == FEATURES
    assert task.facts["missing"]["test"]["gaps"] == [0, 4, 0]
    assert task.facts["missing"]["train"]["gaps"] == [0, 0, 0]
    inputs, _ = task.test.fetch(np.arange(4))
    assert not inputs[:, 2, 1].any()
    assert np.isfinite(inputs).all()


@pytest.mark.parametrize("how", ["mask", "carry"])
def test_labels_of_steps_that_are_left_out_are_left_out_too(how, sequences, tmp_path, rng):
    labels = [rng.integers(0, 2, len(sequence)) for sequence in sequences]
    write_arrays(tmp_path, sequences, f'missing = "{how}"\nper_step = true')
    with np.load(tmp_path / "all.npz") as content:
        np.savez(tmp_path / "all.npz", **{**content, "y": np.concatenate(labels)})
    expected = {}
    for sequence, own in zip(sequences, labels, strict=True):
        whole = np.concatenate([sequence, own[:, None]], axis=1)
        known = ~np.isnan(sequence).all(axis=1)
        if how == "carry":
            known = np.logical_or.accumulate(~np.isnan(sequence), axis=0).any(axis=1)
        expected[treated(sequence, how)[0].tobytes()] = whole[known, -1].astype(int).tolist()
    task = load(tmp_path)
    for source in (task.train, task.validation, task.test):
        for inputs, targets in zip(source.inputs, source.targets, strict=True):
            assert expected[np.ascontiguousarray(inputs).tobytes()] == targets.tolist()


@pytest.mark.parametrize(("stated", "gap"), [("-9", "-9"), ('"NA"', "NA"), ('["x", -9]', "x")])
def test_a_stated_mark_is_a_gap(stated, gap, sequences, tmp_path):
    write_sequences(tmp_path, sequences, f'missing = "carry"\ngaps = {stated}', gap)
    marked = load(tmp_path)
    plain = load(write_arrays(tmp_path, sequences, 'missing = "carry"'))
    assert marked.facts["missing"] == plain.facts["missing"]
    assert marked.train.inputs.equals(plain.train.inputs)


@pytest.mark.parametrize("kind", [np.int32, np.uint8, np.float32, np.float64])
def test_whole_numbers_may_mark_gaps_in_arrays_of_any_type(kind, tmp_path, rng):
    values = [rng.integers(0, 9, size=(6, FEATURES)).astype(kind) for _ in range(COUNT)]
    as_nan = [np.where(x == 7, np.nan, x).astype(np.float64) for x in values]
    as_nan = [x for x in as_nan if not np.isnan(x).all()]
    task = load(write_arrays(tmp_path, values, 'missing = "mask"\ngaps = 7'))
    own = {treated(x, "mask")[0].tobytes() for x in as_nan}
    for source in (task.train, task.validation, task.test):
        assert {x.astype(np.float64).tobytes() for x in source.inputs} <= own


def test_values_are_not_copied_where_no_step_is_left_out(sequences, tmp_path, rng):
    for sequence in sequences:
        sequence[:, 0] = rng.normal(size=len(sequence))
    task = load(write_arrays(tmp_path, sequences, 'missing = "mask"'))
    assert np.shares_memory(task.train.inputs.values, task.test.inputs.values)
    assert task.facts["indicated"] == [1, 2]


@pytest.mark.parametrize("how", ["mask", "carry"])
@pytest.mark.parametrize(
    ("write", "place"),
    [(write_arrays, "sample 4 "), (write_sequences, "line 6:"), (write_archive, "ts, line 6:")],
)
def test_a_sequence_of_gaps_alone_is_refused_by_name(write, place, how, sequences, tmp_path):
    sequences[4][:] = np.nan
    write(tmp_path, sequences, f'missing = "{how}"')
    sentence = f"{place}.*expected values in every sequence, got gaps alone; leave the sequence out"
    with pytest.raises(DataError, match=sentence):
        load(tmp_path)


@pytest.mark.parametrize("toml", ["", 'missing = "refuse"'])
@pytest.mark.parametrize("write", LAYOUTS)
def test_gaps_are_refused_unless_a_treatment_is_chosen(write, toml, sequences, tmp_path):
    write(tmp_path, sequences, toml)
    advice = 'to read gaps, train with missing = "carry" or "mask" in dataset.toml'
    sentence = f"{advice}(, or leave .* out)?$"
    with pytest.raises(DataError, match=re.escape(str(tmp_path))) as error:
        load(tmp_path)
    error.match(sentence)


@pytest.mark.parametrize("bad", ["inf", "1e39", "x", "1_0"])
def test_what_is_no_number_is_no_gap_either(bad, sequences, tmp_path):
    write_sequences(tmp_path, sequences, 'missing = "mask"')
    path = tmp_path / "3.csv"
    lines = path.read_text().split("\n")
    path.write_text("\n".join([*lines[:2], f",{bad},1.5", *lines[3:]]))
    with pytest.raises(DataError, match=f"3.csv, line 3: expected .*, got '{bad}'"):
        load(tmp_path)


def test_a_feature_without_a_value_in_training_is_refused(sequences, tmp_path):
    for sequence in sequences:
        sequence[:, 2] = np.nan
    write_arrays(tmp_path, sequences, 'missing = "mask"')
    with pytest.raises(DataError, match="features with values in training, got none of feature 2"):
        load(tmp_path)


def test_training_samples_as_test_samples_are_noticed_despite_gaps(sequences, tmp_path):
    own = '{inputs = "all.npz:x", labels = "all.npz:y", offsets = "all.npz:offsets"}'
    write_arrays(tmp_path, sequences, f'missing = "mask"\ntest = {own}')
    with pytest.raises(DataError, match="samples of their own"):
        load(tmp_path)
