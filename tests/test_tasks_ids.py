"""Laws of what names a sequence: users find their own again by it."""

import csv

import numpy as np
import own_data
import pytest

from sbo_jax import tasks
from sbo_jax.tasks.sources.joined import joined

PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def gestures(tmp_path_factory):
    return own_data.write(tmp_path_factory.mktemp("data"))


def sequences(gestures, name):
    """{id: sequence} as another reader has them."""
    if name == "table.toml":
        found = {}
        with (gestures / "steps.csv").open() as file:
            for row in csv.DictReader(file):
                found.setdefault(row["run"], []).append([float(row[x]) for x in "xyz"])
        return {key: np.array(rows) for key, rows in found.items()}
    if name == "dataset.toml":
        files = (gestures / "recordings").glob("*.csv")
        return {file.name: np.loadtxt(file, delimiter=",") for file in files}
    content = np.load(gestures / ("all.npz" if name == "arrays.toml" else "unequal.npz"))
    signals = content["signals"]
    if name == "arrays.toml":
        return {str(number): sequence for number, sequence in enumerate(signals)}
    pieces = np.split(signals, content["offsets"][1:-1])
    return {str(number): sequence for number, sequence in enumerate(pieces)}


@pytest.mark.parametrize("name", ["dataset.toml", "table.toml", "arrays.toml", "unequal.toml"])
def test_every_sample_of_a_task_has_the_name_that_it_has_in_the_files(name, gestures):
    task, known = tasks.load("folder", folder=gestures / name, seed=3), sequences(gestures, name)
    found = set()
    for part in PARTS:
        source = getattr(task, part)
        assert len(source.ids) == len(source)
        found |= set(source.ids)
        for key, sequence in zip(source.ids, source.inputs, strict=True):
            np.testing.assert_array_equal(sequence, known[key])
    assert found == known.keys()


def test_the_samples_of_an_archive_are_numbered_in_each_of_its_files(gestures):
    task = tasks.load("folder", folder=gestures / "Gestures_TEST.ts")
    lines = (gestures / "Gestures_TEST.ts").read_text().split("@data\n")[1].splitlines()
    assert list(task.test.ids) == [str(number) for number in range(30)]
    for key, sequence in zip(task.test.ids, task.test.inputs, strict=True):
        first = np.array(lines[int(key)].split(":")[0].split(","), float)
        np.testing.assert_array_equal(sequence[:, 0], first)
    assert sorted([*task.train.ids, *task.validation.ids], key=int) == list(map(str, range(90)))


def test_names_stay_with_their_samples_where_parts_are_chosen_and_joined(gestures):
    whole = tasks.load("folder", folder=gestures / "table.toml")
    task = tasks.load("folder", folder=gestures / "table.toml", train_fraction=0.3)
    known = dict(zip(whole.train.ids, whole.train.inputs, strict=True))
    assert 0 < len(task.train.ids) == len(task.train) < len(whole.train)
    for key, sequence in zip(task.train.ids, task.train.inputs, strict=True):
        np.testing.assert_array_equal(sequence, known[key])
    assert joined(task).ids == [*task.train.ids, *task.validation.ids]
