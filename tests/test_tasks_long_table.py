"""Laws of data sets in one long table: what is read is what was written, or it is refused."""

import csv
import datetime
import decimal
import gzip
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sbo_jax
from sbo_jax import tasks
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.train_command import train_once
from sbo_jax.tasks._types import DataError
from sbo_jax.tasks.own import description
from sbo_jax.tasks.own.long_table import order, pile, reader
from sbo_jax.tasks.own.table import without_label

TOML = 'table = "{}"\nsequence = "run"\nlabel = "kind"\n'


@pytest.fixture
def sequences(rng):
    """Twelve sequences of two features and of lengths from 1 to 12, by name."""
    lengths = rng.permutation(12) + 1
    return {f"r{number}": odd(rng, (length, 2)) for number, length in enumerate(lengths)}


def odd(rng, shape):
    """Numbers in the range of float32 with all digits that float64 has."""
    return rng.normal(size=shape) * 10.0 ** rng.integers(-30, 30, size=shape)


def rows_of(sequences):
    """A row for every step: name, time, two features, label."""
    return [
        [name, step, *values, "ab"[number % 2]]
        for number, (name, array) in enumerate(sequences.items())
        for step, values in enumerate(array.tolist())
    ]


HEADER = ["run", "t", "x", "y", "kind"]


def write_csv(path, rows, header=HEADER, opener=open, number=repr, **dialect):
    with opener(path, "wt", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, **dialect)
        writer.writerow(header)
        for row in rows:
            writer.writerow([number(cell) if isinstance(cell, float) else cell for cell in row])


def write_parquet(path, rows, header=HEADER, types=()):
    columns = zip(*rows, strict=True)
    arrays = [
        pa.array(column, dict(types).get(name))
        for name, column in zip(header, columns, strict=True)
    ]
    pq.write_table(pa.table(arrays, header), path, row_group_size=7)


def describe(folder, text='features = ["x", "y"]', table="readings.csv"):
    (folder / "dataset.toml").write_text(TOML.format(table) + text)


def read(folder):
    described = description.read(folder)
    return reader.read(folder, described.data, described.metric, described.gaps)


def check_same(table, sequences):
    """Bit for bit, in this order."""
    assert len(table.inputs) == len(sequences)
    for found, expected in zip(table.inputs, sequences.values(), strict=True):
        assert found.dtype == expected.dtype
        assert found.tobytes() == expected.tobytes()


def check_same_labels(table):
    assert table.labels.tolist() == ["ab"[number % 2] for number in range(12)]


# what is read


def test_a_csv_file_is_read_bit_for_bit(tmp_path, sequences):
    write_csv(tmp_path / "readings.csv", rows_of(sequences))
    describe(tmp_path)
    table = read(tmp_path)
    check_same(table, sequences)
    check_same_labels(table)
    assert list(table.features) == ["x", "y"]


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, np.int64, np.int8, np.bool_])
def test_a_parquet_file_is_read_bit_for_bit_in_its_own_type(kind, tmp_path, rng):
    sequences = {
        f"r{number}": rng.integers(0, 2 if kind == np.bool_ else 100, (number + 1, 2)).astype(kind)
        for number in range(12)
    }
    types = dict.fromkeys("xy", pa.from_numpy_dtype(kind))
    write_parquet(tmp_path / "readings.parquet", rows_of(sequences), types=types)
    describe(tmp_path, table="readings.parquet")
    table = read(tmp_path)
    check_same(table, sequences)
    check_same_labels(table)


def test_columns_of_several_types_have_the_one_that_holds_them_all(tmp_path, sequences):
    rows = [[*row[:2], step, 0.5, row[-1]] for step, row in enumerate(rows_of(sequences))]
    for integers, expected in ((pa.int16(), np.float32), (pa.int32(), np.float64)):
        types = {"x": integers, "y": pa.float32()}
        write_parquet(tmp_path / "readings.parquet", rows, types=types)
        describe(tmp_path, table="readings.parquet")
        values = read(tmp_path).inputs.values
        assert values.dtype == expected
        np.testing.assert_array_equal(values[:, 0], np.arange(len(rows)))


def test_decimals_of_parquet_are_the_nearest_floats(tmp_path, rng):
    exact = [decimal.Decimal(int(n)).scaleb(-12) for n in rng.integers(-(2**62), 2**62, 500)]
    rows = [[f"r{step // 50}", step, value, 0.0, "a"] for step, value in enumerate(exact)]
    types = {"x": pa.decimal128(38, 12)}
    write_parquet(tmp_path / "readings.parquet", rows, types=types)
    describe(tmp_path, table="readings.parquet")
    assert read(tmp_path).inputs.values[:, 0].tolist() == [float(each) for each in exact]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), "str")])
def test_names_in_parquet_may_be_text_of_any_kind(kind, tmp_path, sequences):
    kind = pa.dictionary(pa.int8(), pa.string()) if pa.types.is_dictionary(kind) else kind
    write_parquet(tmp_path / "readings.parquet", rows_of(sequences), types={"run": kind})
    describe(tmp_path, table="readings.parquet")
    check_same(read(tmp_path), sequences)


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
def test_rows_of_several_sequences_may_be_interleaved(suffix, tmp_path, sequences, rng):
    """The order within a sequence is that of the file; sequences are in order of appearance."""
    rows = rows_of(sequences)
    merged = [rows[number] for number in merge(rng, [row[0] for row in rows])]
    file = tmp_path / f"readings.{suffix}"
    if suffix == "parquet":
        write_parquet(file, merged)
    else:
        write_csv(file, merged, opener=gzip.open if suffix == "csv.gz" else open)
    describe(tmp_path, table=file.name)
    order = dict.fromkeys(row[0] for row in merged)
    table = read(tmp_path)
    check_same(table, {name: sequences[name] for name in order})
    assert table.labels.tolist() == ["ab"[int(name[1:]) % 2] for name in order]


def merge(rng, names):
    """A permutation that keeps the order of equal names."""
    shuffled = rng.permutation(names)
    queues = {name: iter(np.flatnonzero(np.array(names) == name)) for name in set(names)}
    return [int(next(queues[name])) for name in shuffled]


@pytest.mark.parametrize("other", [pa.float32(), pa.float64()])
def test_a_mark_of_gaps_is_found_in_the_type_of_its_column(other, tmp_path, rng):
    """float32(-9999.9) is another number than float64(-9999.9)."""
    rows = [["r0", t, float(rng.normal()), float(rng.normal()), "a"] for t in range(20)]
    rows[3][2] = rows[11][3] = -9999.9
    types = {"x": pa.float32(), "y": other}
    write_parquet(tmp_path / "readings.parquet", rows, types=types)
    text = 'features = ["x", "y"]\ngaps = -9999.9\n'
    describe(tmp_path, text + 'missing = "mask"', "readings.parquet")
    values = read(tmp_path).inputs.values
    assert np.argwhere(np.isnan(values)).tolist() == [[3, 0], [11, 1]]
    describe(tmp_path, text, "readings.parquet")
    with pytest.raises(DataError, match=r"row 3 \(counted from 0\): expected a number for x"):
        read(tmp_path)


@pytest.mark.parametrize("kind", [pa.int16(), pa.uint64(), pa.bool_(), pa.float32()])
def test_a_gap_in_any_column_of_parquet_is_refused(kind, tmp_path, rng):
    rows = [["r0", 1, int(rng.integers(2)), 3.0, "a"] for _ in range(20)]
    rows = [[*row[:2], bool(row[2]) if kind == pa.bool_() else row[2], *row[3:]] for row in rows]
    rows[11][2] = None
    write_parquet(tmp_path / "readings.parquet", rows, types={"x": kind})
    describe(tmp_path, table="readings.parquet")
    with pytest.raises(DataError, match=r"row 11 \(counted from 0\): expected a number for x"):
        read(tmp_path)


def test_a_dictionary_may_use_all_of_its_numbers(tmp_path):
    """A hundred and twenty-eight names, numbered by int8."""
    rows = [[f"r{number}", 0, 1.0, 2.0, "a"] for number in range(128)]
    kind = pa.dictionary(pa.int8(), pa.string())
    write_parquet(tmp_path / "readings.parquet", rows, types={"run": kind})
    describe(tmp_path, table="readings.parquet")
    assert len(read(tmp_path).inputs) == 128


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("kind", ["int", "float", "date", "zoned", "text date"])
def test_rows_are_sorted_by_time(kind, suffix, tmp_path, sequences, rng):
    start = datetime.datetime(2024, 2, 28, 23, 59, 59, tzinfo=None)
    times = {
        "int": lambda step: 10**18 + step,
        "float": lambda step: 0.1 * step - 0.5,
        "date": lambda step: start + datetime.timedelta(milliseconds=step),
        "zoned": lambda step: (start + datetime.timedelta(seconds=step)).isoformat() + "+01:00",
        "text date": lambda step: (start + datetime.timedelta(seconds=step)).isoformat(),
    }
    rows = [[row[0], times[kind](row[1]), *row[2:]] for row in rows_of(sequences)]
    rows = [rows[number] for number in rng.permutation(len(rows))]
    file = tmp_path / f"readings.{suffix}"
    (write_csv if suffix == "csv" else write_parquet)(file, rows)
    describe(tmp_path, 'time = "t"\nmax_gap = 2', file.name) if kind != "int" else describe(
        tmp_path, 'time = "t"', file.name
    )
    order = dict.fromkeys(row[0] for row in rows)
    check_same(read(tmp_path), {name: sequences[name] for name in order})


@pytest.mark.parametrize("named", ['"part-*.csv"', '["part-1.csv", "part-2.csv.gz"]'])
def test_a_table_may_be_in_several_files(named, tmp_path, sequences):
    rows = rows_of(sequences)
    middle = len(rows) // 2
    second = "part-2.csv" if "*" in named else "part-2.csv.gz"
    write_csv(tmp_path / "part-1.csv", rows[:middle])
    order = [4, 2, 1, 0, 3]  # columns are found by name
    permuted = [[row[column] for column in order] for row in rows[middle:]]
    opener = open if "*" in named else gzip.open
    write_csv(tmp_path / second, permuted, [HEADER[column] for column in order], opener)
    describe(tmp_path)
    text = (tmp_path / "dataset.toml").read_text().replace('"readings.csv"', named)
    (tmp_path / "dataset.toml").write_text(text)
    check_same(read(tmp_path), sequences)


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_part_of_a_table_may_be_a_header_alone(end, tmp_path, sequences):
    write_csv(tmp_path / "part-1.csv", rows_of(sequences))
    (tmp_path / "part-2.csv").write_text(",".join(HEADER) + end)
    describe(tmp_path, table="part-*.csv")
    check_same(read(tmp_path), sequences)
    (tmp_path / "part-1.csv").unlink()
    with pytest.raises(DataError, match="expected a row for every step, got none"):
        read(tmp_path)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_of_one_name_are_refused(suffix, tmp_path, sequences):
    write = write_csv if suffix == "csv" else write_parquet
    write(tmp_path / f"readings.{suffix}", rows_of(sequences), ["run", "t", "x", "x", "kind"])
    describe(tmp_path, 'features = ["x"]', f"readings.{suffix}")
    with pytest.raises(DataError, match=r"a different name for every column, got run, ?t, ?x, ?x"):
        read(tmp_path)


@pytest.mark.parametrize("other", ["part-1.csv", "./part-1.csv", "../{0}/part-1.csv", "link.csv"])
def test_a_file_that_is_named_twice_is_refused(other, tmp_path, sequences):
    write_csv(tmp_path / "part-1.csv", rows_of(sequences))
    (tmp_path / "link.csv").symlink_to("part-1.csv")
    describe(tmp_path)
    named = f'["part-*.csv", "{other.format(tmp_path.name)}"]'
    text = (tmp_path / "dataset.toml").read_text().replace('"readings.csv"', named)
    (tmp_path / "dataset.toml").write_text(text)
    with pytest.raises(DataError, match=r": expected every file once, got it before as .*part-1"):
        read(tmp_path)


def test_files_of_parquet_are_open_only_while_they_are_read(tmp_path, sequences, monkeypatch):
    rows = rows_of(sequences)
    for name in sequences:
        write_parquet(tmp_path / f"part-{name}.parquet", [row for row in rows if row[0] == name])
    held = []

    class Noted(pq.ParquetFile):
        def __init__(self, *args, **options):
            assert all(file.closed for file in held)
            super().__init__(*args, **options)
            held.append(self)

    monkeypatch.setattr(pq, "ParquetFile", Noted)
    describe(tmp_path, 'time = "t"', "part-*.parquet")
    table = read(tmp_path)
    check_same(table, {name: sequences[name] for name in table.ids})
    assert len(held) == 2 * len(sequences)
    assert all(file.closed for file in held)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("mark", [".", ","])
@pytest.mark.parametrize("quote", ['"', "'"])
def test_a_notation_that_is_stated_is_read(separator, mark, quote, tmp_path, sequences):
    write_csv(
        tmp_path / "readings.csv",
        rows_of(sequences),
        number=lambda number: repr(number).replace(".", mark),
        delimiter=separator,
        quotechar=quote,
        quoting=csv.QUOTE_ALL,
    )
    stated = separator.replace("\t", "\\t")
    text = f'separator = "{stated}"\ndecimal = "{mark}"\nquote = {quote!r}\n'.replace(
        "'\"'", "'\"'"
    )
    describe(tmp_path, text + 'features = ["x", "y"]')
    check_same(read(tmp_path), sequences)


def test_an_encoding_that_is_stated_is_read(tmp_path, sequences):
    rows = [
        [row[0], row[1], *row[2:4], "kühl" if row[4] == "a" else "heiß"]
        for row in rows_of(sequences)
    ]
    write_csv(tmp_path / "readings.csv", rows)
    text = (tmp_path / "readings.csv").read_text(encoding="utf-8")
    (tmp_path / "readings.csv").write_text(text, encoding="latin-1")
    describe(tmp_path)
    with pytest.raises(DataError, match=r"readings.csv: expected a CSV file that can be read"):
        read(tmp_path)
    describe(tmp_path, 'features = ["x", "y"]\nencoding = "latin-1"')
    table = read(tmp_path)
    check_same(table, sequences)
    assert set(table.labels.tolist()) == {"kühl", "heiß"}


def test_a_byte_order_mark_and_blank_lines_are_no_rows(tmp_path, sequences):
    path = tmp_path / "readings.csv"
    write_csv(path, rows_of(sequences))
    path.write_text("\ufeff" + path.read_text().replace("\n", "\n\n", 3) + "\n\n", "utf-8")
    describe(tmp_path)
    check_same(read(tmp_path), sequences)


def test_all_other_columns_are_features_by_default(tmp_path, sequences):
    write_csv(tmp_path / "readings.csv", rows_of(sequences))
    describe(tmp_path, 'time = "t"')
    check_same(read(tmp_path), sequences)
    describe(tmp_path, "")
    assert read(tmp_path).features == ("t", "x", "y")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_labels_groups_and_splits_may_be_in_a_second_table(suffix, tmp_path, sequences, rng):
    write_csv(tmp_path / "readings.csv", [row[:4] for row in rows_of(sequences)], HEADER[:4])
    said = [
        [name, "ab"[number % 2], f"p{number // 3}", ["train", "validation", "test"][number % 3]]
        for number, name in enumerate(sequences)
    ]
    said = [said[number] for number in rng.permutation(12)]
    write = write_csv if suffix == "csv" else write_parquet
    write(tmp_path / f"labels.{suffix}", said, ["run", "kind", "who", "part"])
    describe(tmp_path, f'time = "t"\nlabels = "labels.{suffix}"\ngroup = "who"\nsplit = "part"')
    table = read(tmp_path)
    check_same(table, sequences)
    check_same_labels(table)
    assert table.groups.tolist() == [f"p{number // 3}" for number in range(12)]
    assert table.splits.tolist() == ["train", "validation", "test"] * 4


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_integers_name_sequences_in_both_tables_alike(suffix, tmp_path, sequences):
    rows = [[int(row[0][1:]), *row[1:4]] for row in rows_of(sequences)]
    write_parquet(tmp_path / "readings.parquet", rows, HEADER[:4])
    write = write_csv if suffix == "csv" else write_parquet
    write(tmp_path / f"labels.{suffix}", [[n, n % 3] for n in range(12)], ["run", "kind"])
    describe(tmp_path, f'time = "t"\nlabels = "labels.{suffix}"', "readings.parquet")
    assert read(tmp_path).labels.tolist() == [number % 3 for number in range(12)]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_number_that_marks_gaps_may_name_a_sequence(suffix, tmp_path, sequences):
    rows = [[int(row[0][1:]), *row[1:]] for row in rows_of(sequences)]
    write = write_csv if suffix == "csv" else write_parquet
    write(tmp_path / f"readings.{suffix}", rows)
    describe(tmp_path, 'time = "t"\ngaps = [0, "none"]', f"readings.{suffix}")
    table = read(tmp_path)
    assert list(table.ids) == list(map(str, range(12)))
    check_same(table, sequences)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("kind", ["text", "integers"])
def test_every_row_may_have_a_label_or_none(kind, suffix, tmp_path, sequences, rng):
    rows = rows_of(sequences)
    labels = [None if rng.random() < 0.3 else int(rng.integers(3)) for _ in rows]
    if kind == "text":
        labels = [label if label is None else "abc"[label] for label in labels]
    rows = [[*row[:4], label] for row, label in zip(rows, labels, strict=True)]
    order = merge(rng, [row[0] for row in rows])
    write = write_csv if suffix == "csv" else write_parquet
    write(tmp_path / f"readings.{suffix}", [rows[number] for number in order])
    describe(tmp_path, 'time = "t"\nper_step = true', f"readings.{suffix}")
    table = read(tmp_path)
    found = iter(table.labels)
    for name in dict.fromkeys(rows[number][0] for number in order):
        of_steps = next(found)
        expected = [row[4] for row in rows if row[0] == name]
        none = without_label(of_steps).tolist()
        assert none == [label is None for label in expected]
        plain = [None if gap else x for gap, x in zip(none, of_steps.tolist(), strict=True)]
        assert plain == expected


@pytest.mark.parametrize("absent", ["test", "validation"])
def test_a_class_of_steps_that_training_lacks_is_refused(absent, tmp_path, sequences, rng):
    parts = ["train", "validation", "test"]
    rows = [
        [*row[:4], "ab"[number % 2], parts[int(row[0][1:]) % 3]]
        for number, row in enumerate(rows_of(sequences))
    ]
    chosen = [number for number, row in enumerate(rows) if row[5] == absent]
    rows[rng.choice(chosen)][4] = "c"
    write_csv(tmp_path / "readings.csv", rows, [*HEADER, "part"])
    describe(tmp_path, 'features = ["x", "y"]\ntime = "t"\nsplit = "part"\nper_step = true')
    with pytest.raises(DataError, match=f"label that training samples have, got 'c' in {absent}"):
        tasks.load("folder", folder=tmp_path)


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_labels_may_be_several_numbers(suffix, per_step, tmp_path, sequences, rng):
    rows = rows_of(sequences)
    targets = odd(rng, (len(rows) if per_step else 12, 2))
    number = {name: number for number, name in enumerate(sequences)}
    rows = [
        [*row[:4], *targets[step if per_step else number[row[0]]].tolist()]
        for step, row in enumerate(rows)
    ]
    if per_step:
        targets[3, 1] = np.nan
        rows[3][5] = None
    write = write_csv if suffix == "csv" else write_parquet
    write(tmp_path / f"readings.{suffix}", rows, [*HEADER[:4], "a", "b"])
    flag = str(per_step).lower()
    describe(tmp_path, f'time = "t"\nmetric = "mse"\nper_step = {flag}', f"readings.{suffix}")
    text = (tmp_path / "dataset.toml").read_text().replace('"kind"', '["a", "b"]')
    (tmp_path / "dataset.toml").write_text(text)
    table = read(tmp_path)
    check_same(table, sequences)
    np.testing.assert_array_equal(table.label_values, targets)
    assert table.num_outputs == 2


def test_all_formats_are_the_same_task(tmp_path, sequences):
    rows, found = rows_of(sequences), []
    for name, write in (("a.csv", write_csv), ("b.parquet", write_parquet)):
        write(tmp_path / name, rows)
        describe(tmp_path, 'features = ["x", "y"]\ntest = 0.3\nvalidation = 0.4', name)
        found.append(tasks.load("folder", folder=tmp_path).facts["sha256"])
    assert found[0] == found[1]


# what is refused


def cell(row, column, value):
    """A change of one cell; rows are counted from 0, without the header."""

    def change(rows):
        rows[row][HEADER.index(column)] = value
        return rows

    return change


def same(rows):
    return rows


X = 'features = ["x"]\n'
TIME = 'time = "t"\n'
# the change of the rows, the rest of dataset.toml, and what is said; row 0 is in line 2
FAULTS = {
    "text": (
        cell(4, "x", "oops"),
        X,
        r"csv, line 6, column x: expected finite .*got 'oops'; if it is no feature",
    ),
    "mark": (cell(4, "x", "NA"), X, r"line 6, column x: expected gaps = \"NA\" in dataset.toml"),
    "infinite": (cell(4, "x", "-inf"), X, r"line 6, column x: expected finite .*got '-inf'$"),
    "huge": (cell(4, "x", "1e39"), X, r"line 6, column x: expected finite .*got '1e39'$"),
    "underscore": (cell(4, "x", "1_0"), X, r"line 6, column x: .*got '1_0'$"),
    "empty": (cell(4, "x", ""), X, r"line 6: expected a number for x, got a gap; to read"),
    "nan": (cell(4, "x", "nan"), X, r"line 6: expected a number for x, got a gap"),
    "stated mark": (cell(4, "x", "NA"), X + 'gaps = "NA"', r"line 6: .* for x, got a gap"),
    "stated number": (cell(4, "x", "-9.0"), X + "gaps = [-9, 'x']", r"line 6: .* for x, got a gap"),
    "cells": (
        lambda rows: [*rows[:4], ["r4", 1, 2.0, 3.0], *rows[4:]],
        X,
        r"line 6: expected 5 .*4",
    ),
    "no sequence": (cell(4, "run", ""), X, r"line 6: expected a sequence in run, got none$"),
    "gap in sequence": (cell(4, "run", "NA"), X, r"line 6: .*sequence in run, got NA; fill"),
    "no label": (
        cell(4, "kind", "?"),
        X,
        r"line 6: expected a label in kind, got \?; fill .*class",
    ),
    "two labels": (cell(1, "kind", "z"), X, r"line 3: expected one kind for the sequence r0, 'a'"),
    "mixed labels": (
        cell(0, "kind", "7"),
        X,
        r"line 3: expected text as label.*line 2, got 'a'|one kind",
    ),
    "time": (
        cell(4, "t", "soon"),
        TIME,
        r"line 6: expected a number, or a date .* in t, got 'soon'",
    ),
    "a date among numbers": (
        cell(4, "t", "2024-05-01"),
        TIME,
        r"line 6: expected a number as in the rows before in t, got '2024-05-01'",
    ),
    "no time": (cell(4, "t", ""), TIME, r"line 6: expected a number.* in t, got (''|None)"),
    "nan time": (cell(4, "t", "nan"), TIME, r"line 6: expected a number.* in t, got 'nan'"),
    "time twice": (
        cell(1, "t", 0),
        TIME,
        r"line 3: expected every time once .*0 after 0 in .*r0; .*line 2",
    ),
    "gap in time": (
        cell(1, "t", 9.5),
        TIME + "max_gap = 1.5",
        r"line \d: .*most max_gap = 1.5 in t, got 2.0 after 0.0 in",
    ),
    "group": (cell(1, "y", 7.5), X + 'group = "y"', r"line 3: expected one y for the sequence r0"),
    "split": (
        lambda rows: [[*row[:3], 2.5, row[4]] for row in rows],
        X + 'split = "y"',
        r"line 2, sequence r0: expected a split among train, .*got 2.5",
    ),
    "no column": (
        same,
        'features = ["x", "yy"]',
        r"csv: expected columns among run, t, x, y, kind, got yy; did",
    ),
    "separator": (same, X + 'separator = ";"', r'got run; try separator = "," in dataset.toml'),
    "encoding": (same, X + 'encoding = "utf-7a"', "expected encoding = .*got 'utf-7a'"),
    "quote": (same, X + 'quote = "ab"', "expected quote = .*got 'ab'"),
    "max_gap alone": (same, X + "max_gap = 1", "expected max_gap > 0 together with time, got none"),
    "a unit": (same, TIME + 'max_gap = "1s"', "a number for max_gap, in seconds .* got '1s'; try"),
    "no max_gap": (same, TIME + "max_gap = 0", "expected max_gap > 0 .*'t' and 0"),
    "several labels": (same, 'group = ["x"]', "expected text for group"),
    "both": (same, 'index = "i"', "expected either table, or index, got both"),
    "no features": (same, "features = []", "one or more in the list features, got none"),
    "twice": (same, 'features = ["x", "x"]', "for one purpose each, got 'x' twice"),
    "label as feature": (same, 'features = ["x", "kind"]', "one purpose each, got 'kind' twice"),
    "no truth": (same, 'per_step = "yes"', "expected true or false for per_step, got 'yes'"),
    "labels of steps": (
        same,
        'per_step = true\nlabels = "x.csv"',
        "in the table itself; leave labels",
    ),
    "no second table": (
        same,
        TIME + 'labels = "x.csv"',
        "expected kind in one table|x.csv, found no",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_with_its_place(fault, tmp_path, rng):
    change, text, sentence = FAULTS[fault]
    sequences = {f"r{number}": rng.normal(size=(3, 2)) for number in range(12)}
    write_csv(tmp_path / "readings.csv", change(rows_of(sequences)))
    describe(tmp_path, text)
    with pytest.raises(DataError, match=rf"^{re.escape(str(tmp_path))}[^\n]*$") as error:
        tasks.load("folder", folder=tmp_path)
    error.match(sentence)


def test_another_notation_is_refused_with_the_line_to_add(tmp_path, sequences):
    def comma(number):
        return f"{number:.9f}".replace(".", ",")

    path, rows = tmp_path / "readings.csv", rows_of(sequences)
    write_csv(path, rows, number=comma, delimiter=";")
    describe(tmp_path)
    with pytest.raises(DataError, match=r'; try separator = ";" in dataset.toml$'):
        read(tmp_path)
    describe(tmp_path, X + 'separator = ";"')
    with pytest.raises(DataError, match=r'line 2, column x: expected decimal = "," in dataset'):
        read(tmp_path)
    path.write_text(path.read_text().replace(";", ","))
    describe(tmp_path)
    with pytest.raises(DataError, match=r'line 2: expected 5 cells .*got 7; .*add decimal = ","'):
        read(tmp_path)


def test_a_quote_that_is_not_closed_is_refused_with_what_to_state(tmp_path, sequences):
    path = tmp_path / "readings.csv"
    write_csv(path, rows_of(sequences))
    path.write_text(path.read_text().replace("r1,", '"r1,', 1))
    describe(tmp_path)
    with pytest.raises(DataError, match=r"readings.csv, line \d+: expected .*look at quotes"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["", "__index_level_0__"])
def test_a_count_of_the_rows_is_a_feature_only_where_it_is_named(name, tmp_path, sequences):
    rows = [[number, *row] for number, row in enumerate(rows_of(sequences))]
    write_csv(tmp_path / "readings.csv", rows, [name, *HEADER])
    describe(tmp_path, TIME)
    with pytest.raises(DataError, match=f"got '{name}', which may be a count of the rows; name"):
        read(tmp_path)
    describe(tmp_path)
    check_same(read(tmp_path), sequences)


KEY_FAULTS = {
    "sequence": (
        'table = "a.csv"\nlabel = "y"',
        'expected sequence = "COLUMN" together with table',
    ),
    "label": ('table = "a.csv"\nsequence = "y"', 'expected label = "COLUMN" together with table'),
    "labels": (TOML.format("a").replace('"kind"', '["a", "b"]'), 'several and metric = "mse"'),
    "no table": ('sequence = "a"', "expected sequence together with table alone"),
    "no file": (TOML.format("a.csv"), "expected a table in .*a.csv, found no such file"),
    "no files": (TOML.format("a*.csv"), r"expected tables in .*a\*.csv, found no file"),
    "kind": (TOML.format("dataset.toml"), "expected a table in a file .csv, .* got .toml"),
    "list": (TOML.format("a").replace('"a"', "[]"), "one or more in the list tables"),
}


@pytest.mark.parametrize("fault", KEY_FAULTS)
def test_a_faulty_description_is_refused(fault, tmp_path):
    text, sentence = KEY_FAULTS[fault]
    (tmp_path / "dataset.toml").write_text(text)
    with pytest.raises(DataError, match=sentence):
        tasks.load("folder", folder=tmp_path)


@pytest.mark.parametrize(
    ("column", "kind", "values", "sentence"),
    [
        ("x", pa.string(), ["1"], "in the column x, got the type string; name the features"),
        ("x", pa.list_(pa.int8()), [[1]], r"in the column x, got the type list<"),
        (
            "x",
            pa.float64(),
            [None],
            r"row 0 \(counted from 0\): expected a number for x, got a gap",
        ),
        ("x", pa.int16(), [None], r"row 0 \(counted from 0\): expected a number for x, got a gap"),
        (
            "x",
            pa.float64(),
            [1e39],
            r"row 0 .*: expected a finite number in the range of float32 for x",
        ),
        ("x", pa.float32(), [np.inf], r"row 0 .*: expected a finite number .* for x"),
        (
            "run",
            pa.float64(),
            [1.0],
            "expected text or integers in the column run, got the type double",
        ),
        ("kind", pa.float64(), [1.0], "integers in the column kind, got the type double"),
        ("kind", pa.string(), [None], r"row 0 .*: expected a label in kind, got none"),
        ("t", pa.bool_(), [True], "row 0 .*: expected a number, or a date .* in t, got True"),
    ],
)
def test_a_faulty_column_of_parquet_is_refused_by_name(column, kind, values, sentence, tmp_path):
    rows = [["r0", 1, 2.0, 3.0, "a"]]
    rows[0][HEADER.index(column)] = values[0]
    write_parquet(tmp_path / "readings.parquet", rows, types={column: kind})
    describe(tmp_path, TIME, "readings.parquet")
    with pytest.raises(DataError, match=sentence):
        read(tmp_path)


def test_a_date_that_is_too_late_names_both_rows_and_seconds(tmp_path):
    dates = ["2024-01-01T00:00:00", "2024-01-01T00:00:00.5", "2024-01-01T00:00:03"]
    rows = [["r0", date, 1.0, 2.0, "a"] for date in dates]
    write_csv(tmp_path / "readings.csv", rows)
    describe(tmp_path, TIME + "max_gap = 0.5")
    expected = (
        r"line 4: expected steps of at most max_gap = 0.5 s in t, got 2024-01-01T00:00:03\S* "
    )
    with pytest.raises(DataError, match=expected + r"after 2024-01-01T00:00:00.5\S* in .*line 3$"):
        read(tmp_path)


def test_steps_of_max_gap_are_allowed_however_they_are_rounded(tmp_path):
    write_csv(tmp_path / "readings.csv", [["r", 0.1 * n, 1.0, 2.0, "a"] for n in range(1000)])
    describe(tmp_path, TIME + "max_gap = 0.1")
    assert len(read(tmp_path).inputs[0]) == 1000


LABEL_FAULTS = {
    "none": (
        lambda rows: rows[:-1],
        r"labels.csv: expected a row for every sequence, got none for r11 \(.*line",
    ),
    "unknown": (
        lambda rows: [*rows, ["zz", "a"]],
        r"labels.csv, line 14: .*got 'zz', which has no rows",
    ),
    "twice": (
        lambda rows: [*rows, rows[3]],
        r"labels.csv, line 14: expected every sequence once, got r3 again",
    ),
    "gap": (
        lambda rows: [*rows[:-1], ["r11", ""]],
        r"labels.csv, line 13: expected a label in kind, got none",
    ),
    "mixed": (
        lambda rows: [*rows[:-1], ["r11", "1"]],
        r"labels.csv, line 13: expected text as label",
    ),
    "no rows": (lambda rows: [], r"labels.csv: expected a row for every sequence"),
}


@pytest.mark.parametrize("fault", LABEL_FAULTS)
def test_a_fault_of_the_second_table_is_refused_with_its_place(fault, tmp_path, sequences):
    change, sentence = LABEL_FAULTS[fault]
    write_csv(tmp_path / "readings.csv", [row[:4] for row in rows_of(sequences)], HEADER[:4])
    said = change([[name, "ab"[number % 2]] for number, name in enumerate(sequences)])
    write_csv(tmp_path / "labels.csv", said, ["run", "kind"])
    describe(tmp_path, TIME + 'labels = "labels.csv"')
    with pytest.raises(DataError, match=sentence):
        read(tmp_path)


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08", b"\x00\xff\xfe", b"a,a\n1,2\n"])
def test_a_damaged_file_is_refused_with_its_name(suffix, content, tmp_path):
    (tmp_path / f"readings.{suffix}").write_bytes(content)
    describe(tmp_path, table=f"readings.{suffix}")
    with pytest.raises(DataError, match=rf"^{re.escape(str(tmp_path / 'readings'))}\.{suffix}"):
        tasks.load("folder", folder=tmp_path)


# how it is put together


@pytest.mark.parametrize("shape", [(), (3,)])
def test_a_pile_is_its_pieces_one_below_another(shape, rng, monkeypatch):
    monkeypatch.setattr(pile, "_BYTES", 100)
    pieces = [rng.integers(0, 9, (size, *shape)) for size in rng.integers(0, 40, size=9)]
    pieces[5:] = [piece + 0.5 for piece in pieces[5:]]
    found = pile.Pile()
    for piece in pieces:
        found.add(piece)
    assert len(found) == sum(map(len, pieces))
    np.testing.assert_array_equal(found.whole(), np.concatenate(pieces))
    assert not len(found)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_rows_are_put_in_order_in_place(shape, rng):
    array = rng.normal(size=(50, *shape))
    rows, before = rng.permutation(50), array.copy()
    assert pile.put_in_order(array, rows) is array
    np.testing.assert_array_equal(array, before[rows])


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("has_times", [True, False])
@pytest.mark.parametrize("count", [5, 700])
def test_the_order_of_rows_is_that_of_a_sort_by_two_keys(
    count, has_times, together, rng, monkeypatch
):
    monkeypatch.setattr(order, "_BLOCK", 101)
    numbers = np.concatenate([np.arange(count), rng.integers(count, size=2 * count)])
    numbers = rng.permutation(numbers).astype(np.int32)
    if together:
        numbers.sort()
    times = rng.permutation(len(numbers)) if has_times else None
    found = order.of_rows(numbers, count, times)
    _, first = np.unique(numbers, return_index=True)
    keys = [np.arange(len(numbers)) if times is None else times, first[numbers]]
    rows = np.arange(len(numbers)) if found.rows is None else found.rows
    np.testing.assert_array_equal(rows, np.lexsort(keys))
    np.testing.assert_array_equal(found.names, np.argsort(first))
    np.testing.assert_array_equal(found.lengths, np.bincount(numbers)[found.names])


def test_a_step_is_found_in_any_block_and_not_between_sequences(rng, monkeypatch):
    monkeypatch.setattr(order, "_BLOCK", 7)
    numbers = np.repeat(np.arange(10, dtype=np.int32), 5)
    times = np.tile(np.arange(5.0), 10)
    placing = order.of_rows(numbers, 10, times)
    assert placing.rows is None
    assert order.first_step(placing, times, lambda steps: steps != 1) is None
    place = int(rng.integers(10)) * 5 + int(rng.integers(1, 5))
    times[place] -= 0.5
    assert order.first_step(placing, times, lambda steps: steps == 0.5) == place


# runs


def test_a_model_is_trained_on_sequences_of_unequal_lengths(tmp_path, rng):
    lengths = rng.integers(3, 9, size=40)
    sequences = {
        f"r{number}": rng.normal(size=(length, 2)) + number % 2
        for number, length in enumerate(lengths)
    }
    write_csv(tmp_path / "readings.csv", rows_of(sequences))
    describe(tmp_path, TIME)
    out = tmp_path / "run"
    config = TrainConfig.of(task="folder", folder=str(tmp_path), hidden=4, epochs=1, out=out)
    assert train_once(config) == 0
    assert len(sbo_jax.load(out).predict(list(sequences.values()))) == 40
