"""Laws of prepared copies: a start that reads one equals a start that reads the files."""

import errno
import gc
import itertools
import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from sbo_jax import tasks
from sbo_jax.disk.claims import claim_folder
from sbo_jax.tasks._types import DataError
from sbo_jax.tasks.account import account
from sbo_jax.tasks.loader import training_batches
from sbo_jax.tasks.own import description
from sbo_jax.tasks.own.long_table import reader as long_tables
from sbo_jax.tasks.own.prepared import copies, reader
from sbo_jax.tasks.sources.ragged import Ragged

TOML = 'table = "{}"\nsequence = "run"\nfeatures = ["x", "y"]\n'
TARGETS = {
    "classes": 'label = "kind"',
    "integer classes": 'label = "number"',
    "numbers": 'label = ["size", "weight"]\nmetric = "mse"',
    "a class of every step": 'label = "state"\nper_step = true',
    "numbers of every step": 'label = ["x2", "y2"]\nper_step = true\nmetric = "mse"',
    "later inputs": "horizon = 1",
    "a second table": 'label = "kind"\nlabels = "labels.csv"',
}
WRITERS = {"csv": pyarrow.csv.write_csv, "parquet": pq.write_table}


@pytest.fixture(autouse=True)
def _every_table_is_large(monkeypatch):
    monkeypatch.setattr(reader, "_FEWEST_BYTES", 0)


@pytest.fixture
def table(rng):
    """Twenty sequences of ten groups, whose rows lie in any order, as columns."""
    lengths = rng.integers(2, 9, size=20)
    number = np.repeat(np.arange(20), lengths)
    step = np.concatenate([np.arange(length) for length in lengths])
    values = dict(zip(["x", "y", "x2", "y2"], rng.normal(size=(4, len(number))), strict=True))
    columns = {
        "run": [f"ü{each}" for each in number],
        "t": step,
        "kind": np.array(["rest", "wave"])[number % 2],
        "number": number % 2 + 3,
        "size": rng.normal(size=20)[number],
        "weight": rng.normal(size=20)[number],
        "state": rng.choice(["up", "down", ""], size=len(number)),
        "who": number // 2,
        "part": np.array(["train", "train", "validation", "test"])[number // 2 % 4],
    }
    return pa.table(columns | values).take(rng.permutation(len(number)))


def write(folder, table, kind="csv", text=TARGETS["classes"], name="dataset.toml"):
    """Two files and their description."""
    half = len(table) // 2
    for number, part in enumerate([table[:half], table[half:]]):
        WRITERS[kind](part, folder / f"part-{number}.{kind}")
    about = table.select(["run", "kind", "who", "part"]).to_pylist()
    rows = {row["run"]: ",".join(map(str, row.values())) for row in about}
    (folder / "labels.csv").write_text("\n".join(["run,kind,who,part", *rows.values()]))
    (folder / name).write_text(TOML.format(f"part-*.{kind}") + 'time = "t"\n' + text)


def read(folder, name="dataset.toml"):
    """The table, and what is said of its copy."""
    described = description.read(folder / name)
    return reader.read(described, described.data)


def copies_in(folder):
    return sorted(path.name for path in (folder / ".sbo_jax").glob("[0-9a-f]*"))


def left_in(folder):
    """What is in the folder of copies besides copies and the marks for other programs."""
    known = {*copies_in(folder), ".gitignore", "CACHEDIR.TAG"}
    root = folder / ".sbo_jax"
    return {path.name for path in root.iterdir()} - known if root.exists() else set()


def bits(table):
    """All that a table holds, for comparison; its places as sentences."""
    fields = table._replace(known_sha256=None, times=None)
    arrays = {}
    for name, value in fields._asdict().items():
        parts = value.__dict__.items() if isinstance(value, Ragged) else [("", value)]
        for part, each in parts:
            is_array = isinstance(each, np.ndarray)
            arrays[name, part] = (each.dtype.str, each.shape, each.tobytes()) if is_array else each
    texts = {("places", ""): list(table.places), ("ids", ""): list(table.ids)}
    return arrays | texts | {"sha256": fields.sha256()}


def fresh(folder, name="dataset.toml"):
    described = description.read(folder / name)
    return long_tables.read(folder, described.data, described.metric, described.gaps)


def check_prepared(folder, name="dataset.toml"):
    """The next start reads a copy, which equals the files."""
    table, sentence = read(folder, name)
    assert sentence.startswith("Read from the prepared copy")
    assert bits(table) == bits(fresh(folder, name))


def check_written(folder, name="dataset.toml"):
    """The next start reads the files and writes a copy, which the one after reads."""
    table, sentence = read(folder, name)
    assert "Later starts read the prepared copy" in sentence
    assert bits(table) == bits(fresh(folder, name))
    check_prepared(folder, name)


# what is read


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", WRITERS)
def test_a_copy_equals_the_files_bit_for_bit(kind, target, tmp_path, table):
    more = "" if target == "later inputs" else '\ngroup = "who"\nsplit = "part"'
    write(tmp_path, table, kind, TARGETS[target] + more)
    if target == "a second table":
        columns = ["run", "t", "x", "y"]
        for path in tmp_path.glob("part-*"):
            whole = pyarrow.csv.read_csv(path) if kind == "csv" else pq.read_table(path)
            WRITERS[kind](whole.select(columns), path)
    check_written(tmp_path)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_task_of_a_copy_has_the_same_facts_and_batches(kind, tmp_path, table):
    values = table.column("x").to_numpy().copy()
    values[::7] = np.nan
    table = table.set_column(table.schema.get_field_index("x"), "x", pa.array(values))
    write(tmp_path, table, kind, TARGETS["classes"] + '\nmissing = "mask"')
    first, second = (tasks.load("folder", folder=tmp_path) for _ in range(2))
    assert second.copy != first.copy
    assert json.dumps(second.facts) == json.dumps(first.facts)
    parts = [second.facts["missing"][name] for name in ("train", "validation", "test")]
    assert sum(sum(part["gaps"]) for part in parts) == len(values[::7])
    assert list(second.test.ids) == list(first.test.ids)
    batches = (training_batches(task.train, 4, seed=0) for task in (first, second))
    for one, other in itertools.islice(zip(*batches, strict=False), 5):
        for ours, theirs in zip(one, other, strict=True):
            assert ours.tobytes() == theirs.tobytes()


def test_the_values_of_a_copy_stay_on_disk(tmp_path, table):
    write(tmp_path, table)
    read(tmp_path)
    values = read(tmp_path)[0].inputs.values
    assert isinstance(values.base, np.memmap)
    assert not values.flags.writeable


def test_parts_share_the_classes_of_steps_as_they_share_the_values(tmp_path, table):
    write(tmp_path, table, text=TARGETS["a class of every step"])
    task = tasks.load("folder", folder=tmp_path)
    for part in (task.validation, task.test):
        assert part.targets.values is task.train.targets.values
        assert part.inputs.values is task.train.inputs.values


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("text", ['labels = "labels.csv"', ""])
def test_a_fault_that_is_found_later_names_the_file_and_the_line(kind, text, tmp_path, table):
    columns = ["run", "t", "x", "y"] + ([] if text else ["kind"])
    write(tmp_path, table, kind)
    for path in tmp_path.glob("part-*"):
        whole = pyarrow.csv.read_csv(path) if kind == "csv" else pq.read_table(path)
        WRITERS[kind](whole.select(columns), path)
    toml = (tmp_path / "dataset.toml").read_text() + f"\n{text}\n"
    (tmp_path / "dataset.toml").write_text(toml)
    check_written(tmp_path)
    faults = []
    for prepared in ("true", "false"):
        more = f"prepared = {prepared}\nmax_length = 1\n"
        (tmp_path / "dataset.toml").write_text(toml + more)
        with pytest.raises(DataError) as fault:
            tasks.load("folder", folder=tmp_path)
        faults.append(str(fault.value))
    assert faults[0] == faults[1]
    assert ", line " in faults[0] or ", row " in faults[0]


# which copy is read


def test_files_of_other_content_are_read_even_if_they_look_the_same(tmp_path, table):
    write(tmp_path, table)
    check_written(tmp_path)
    (before,) = copies_in(tmp_path)
    path = tmp_path / "part-1.csv"
    status, text = path.stat(), path.read_text()
    last = text.rsplit("\n", 2)[-2].rsplit(",", 1)[-1]
    path.write_text(text.replace(last, last[:-1] + str((int(last[-1]) + 1) % 10)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    check_written(tmp_path)
    (after,) = copies_in(tmp_path)
    assert after != before


OTHERS = {
    "features": ('features = ["x", "y"]', 'features = ["y", "x"]'),
    "label": ('label = "number"', 'label = "kind"'),
    "metric": ("max_gap", 'metric = "mse"\nmax_gap'),
    "marks of gaps": ("max_gap", "gaps = -9999\nmax_gap"),
    "what is done about gaps": ("max_gap", 'missing = "carry"\nmax_gap'),
    "what is refused": ("max_gap = 9", "max_gap = 10"),
    "group": ("max_gap", 'group = "who"\nmax_gap'),
    "a file less": ("part-*", "part-0"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_decides_how_files_are_read_makes_another_copy(other, tmp_path, table):
    write(tmp_path, table, text=f"{TARGETS['integer classes']}\nmax_gap = 9")
    check_written(tmp_path)
    text = (tmp_path / "dataset.toml").read_text()
    changed = text.replace(*OTHERS[other])
    assert changed != text
    (tmp_path / "dataset.toml").write_text(changed)
    check_written(tmp_path)
    assert len(copies_in(tmp_path)) == 1


def test_what_is_decided_later_shares_the_copy(tmp_path, table):
    write(tmp_path, table)
    check_written(tmp_path)
    for text in ("validation = 0.3", "max_length = 2\nkeep = 'end'", 'classes = ["wave", "rest"]'):
        write(tmp_path, table, text=f"{TARGETS['classes']}\n{text}")
        if "classes" not in text:
            check_prepared(tmp_path)
    write(tmp_path, table, name="second.toml")
    check_prepared(tmp_path, "second.toml")


def test_each_description_has_one_copy_and_none_once_it_is_gone(tmp_path, table):
    numbers = ["first.toml", "second.toml", "third.toml"]
    for number, name in enumerate(numbers):
        write(tmp_path, table, text=f'label = "kind"\ngaps = {number}', name=name)
        check_written(tmp_path, name)
    assert len(copies_in(tmp_path)) == 3
    for name in numbers:
        check_prepared(tmp_path, name)
    (tmp_path / "first.toml").unlink()
    write(tmp_path, table, text='label = "kind"\ngaps = 9', name="second.toml")
    check_written(tmp_path, "second.toml")
    assert len(copies_in(tmp_path)) == 2
    check_prepared(tmp_path, "third.toml")


def test_small_files_and_descriptions_that_want_none_have_no_copy(tmp_path, table, monkeypatch):
    write(tmp_path, table, text=f"{TARGETS['classes']}\nprepared = false")
    task = tasks.load("folder", folder=tmp_path)
    assert task.copy == ""
    assert "prepared" not in task.layout
    monkeypatch.setattr(reader, "_FEWEST_BYTES", 10**8)
    write(tmp_path, table)
    assert tasks.load("folder", folder=tmp_path).layout == task.layout
    assert not (tmp_path / ".sbo_jax").exists()


def test_other_layouts_refuse_the_key(tmp_path):
    (tmp_path / "dataset.toml").write_text('index = "index.csv"\nprepared = false')
    with pytest.raises(DataError, match="expected prepared together with table alone"):
        tasks.load("folder", folder=tmp_path)


# what is wrong with a copy


def damaged(path, how, rng):
    content = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: rng.integers(len(content))])
    else:
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(content)


@pytest.mark.parametrize("how", ["gone", "cut", "changed"])
def test_a_damaged_copy_is_made_again(how, tmp_path, table, rng):
    write(tmp_path, table, text=f'{TARGETS["classes"]}\ngroup = "who"')
    check_written(tmp_path)
    (key,) = copies_in(tmp_path)
    names = sorted(path.name for path in (tmp_path / ".sbo_jax" / key).iterdir())
    assert len(names) >= 6
    for name in names:
        damaged(tmp_path / ".sbo_jax" / key / name, how, rng)
        found, sentence = read(tmp_path)
        assert bits(found) == bits(fresh(tmp_path))
        del found  # a copy that is read, whose description alone has changed, is not replaced
        if name != "copy.json":  # whose description alone may have changed
            assert "Later starts" in sentence
        check_prepared(tmp_path)
    assert left_in(tmp_path) == set()


def test_a_folder_that_cannot_be_written_to_has_no_copy(tmp_path, table):
    write(tmp_path, table)
    (tmp_path / ".sbo_jax").write_text("in the way")
    found, sentence = read(tmp_path)
    assert sentence == ""
    assert bits(found) == bits(fresh(tmp_path))
    assert (tmp_path / ".sbo_jax").read_text() == "in the way"


@pytest.mark.parametrize("when", ["before", "while it is written"])
def test_a_full_disk_has_no_copy_and_keeps_nothing_of_it(when, tmp_path, table, monkeypatch):
    write(tmp_path, table)
    if when == "before":
        usage = shutil.disk_usage(tmp_path)._replace(free=1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    else:

        def save(path, *_, **__):
            if path.stem == "rows":
                raise OSError(errno.ENOSPC, "No space left on device")
            path.write_bytes(b"half")

        monkeypatch.setattr(copies.np, "save", save)
    found, sentence = read(tmp_path)
    monkeypatch.undo()
    assert sentence == ""
    assert bits(found) == bits(fresh(tmp_path))
    assert copies_in(tmp_path) == []
    assert left_in(tmp_path) == set()


def test_files_that_change_while_they_are_read_have_no_copy(tmp_path, table, monkeypatch):
    write(tmp_path, table)
    of_files = long_tables.of_files

    def changed(files, *args):
        found = of_files(files, *args)
        files[0].path.write_text(files[0].path.read_text())
        return found

    monkeypatch.setattr(long_tables, "of_files", changed)
    assert read(tmp_path)[1] == ""
    assert not (tmp_path / ".sbo_jax").exists()


# several processes


def test_while_another_process_writes_the_files_are_read(tmp_path, table):
    write(tmp_path, table)
    claim = claim_folder(tmp_path / ".sbo_jax")
    found, sentence = read(tmp_path)
    claim.release()
    assert sentence == ""
    assert bits(found) == bits(fresh(tmp_path))
    check_written(tmp_path)


def test_a_copy_that_is_read_is_not_removed(tmp_path, table):
    write(tmp_path, table)
    check_written(tmp_path)
    in_use, _ = read(tmp_path)
    part = in_use.take(np.arange(3))  # shares the values
    before = bits(part)
    del in_use
    gc.collect()
    (first,) = copies_in(tmp_path)
    write(tmp_path, table[:-1])
    check_written(tmp_path)
    assert first in copies_in(tmp_path)
    assert len(copies_in(tmp_path)) == 2
    assert bits(part)["inputs", "values"] == before["inputs", "values"]
    del part
    gc.collect()
    write(tmp_path, table[:-2])
    check_written(tmp_path)
    assert len(copies_in(tmp_path)) == 1


# the folder of copies, and what is said of it


def test_copies_are_no_data(tmp_path, table):
    write(tmp_path, table)
    check_written(tmp_path)
    for day in ("monday", "tuesday"):
        (tmp_path / day).mkdir()
        shutil.move(tmp_path / f"part-{int(day == 'tuesday')}.csv", tmp_path / day)
    text = (tmp_path / "dataset.toml").read_text()
    for pattern in ("*/*", "**/part-*", "*/*.csv"):
        (tmp_path / "dataset.toml").write_text(text.replace("part-*.csv", pattern))
        check_written(tmp_path)


def test_the_paragraph_says_where_the_copy_is_and_how_to_have_none(tmp_path, table):
    write(tmp_path, table)
    first, second = (account(tasks.load("folder", folder=tmp_path)) for _ in range(2))
    where = f"the prepared copy in {tmp_path}/.sbo_jax"
    assert f"Later starts read {where}, 0.0 GB; prepared = false in dataset.toml" in first
    assert second.endswith(f". Read from {where}.")
