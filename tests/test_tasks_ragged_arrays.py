"""Laws of arrays that hold sequences one after another, or a label of every step."""

import itertools
import mmap
import re

import numpy as np
import pytest

from sbo_jax import tasks
from sbo_jax.tasks._types import DataError
from sbo_jax.tasks.sources.sequences import NO_CLASS

NAMES = np.array(["rest", "wave", "push"])
OFFSETS = 'inputs = "x.npy"\nlabels = "all.npz:y"\noffsets = "all.npz:offsets"\n'


def load(path, **options):
    return tasks.load("folder", folder=path, **options)


def write(folder, values, toml=OFFSETS, **arrays):
    np.save(folder / "x.npy", values)
    np.savez(folder / "all.npz", **arrays)
    (folder / "dataset.toml").write_text(toml)


def cut(values, offsets):
    return [values[first:end] for first, end in itertools.pairwise(offsets)]


def found(task):
    """{raw sequence: its target or targets}."""
    return {
        sequence.tobytes(): np.array(target).tolist()
        for source in (task.train, task.validation, task.test)
        for sequence, target in zip(source.inputs, source.targets, strict=True)
    }


@pytest.fixture
def offsets(rng):
    """Of thirty sequences of 1 to 9 steps."""
    return np.concatenate([[0], np.cumsum(rng.integers(1, 10, 30))])


@pytest.fixture
def values(rng, offsets):
    return rng.normal(size=(offsets[-1], 2))


@pytest.mark.parametrize("kind", [np.int64, np.uint16])
def test_sequences_lie_between_offsets(kind, values, offsets, tmp_path):
    write(tmp_path, values, y=NAMES[np.arange(30) % 3], offsets=offsets.astype(kind))
    task = load(tmp_path)
    numbers = [sorted(NAMES).index(NAMES[i % 3]) for i in range(30)]
    expected = zip(cut(values, offsets), numbers, strict=True)
    assert found(task) == {sequence.tobytes(): number for sequence, number in expected}
    assert task.length == np.diff(offsets).max()


def test_groups_and_files_of_test_have_sequences_between_offsets_as_well(
    values, offsets, tmp_path, rng
):
    other = np.array([0, 3, 4, 9])
    held = rng.normal(size=(9, 2))
    np.savez(tmp_path / "test.npz", x=held, y=NAMES, offsets=other)
    toml = 'test = {inputs = "test.npz:x", labels = "test.npz:y", offsets = "test.npz:offsets"}'
    arrays = {"y": NAMES[np.arange(30) % 3], "offsets": offsets, "who": np.arange(30) // 10}
    write(tmp_path, values, f'{OFFSETS}groups = "all.npz:who"\n{toml}', **arrays)
    task = load(tmp_path)
    assert [x.tolist() for x in task.test.inputs] == [x.tolist() for x in cut(held, other)]
    assert task.facts["counts"] == {"train": 20, "validation": 10, "test": 3}


def test_every_step_may_have_a_label_of_its_own(values, offsets, tmp_path, rng):
    labels = rng.integers(-1, 3, offsets[-1])
    labels[offsets[:-1]] = np.arange(30) % 3
    toml = f"{OFFSETS}per_step = true\ngaps = -1"
    write(tmp_path, values, toml, y=labels, offsets=offsets)
    task = load(tmp_path)
    assert task.per_step
    assert task.facts["classes"] == [0, 1, 2]
    targets = [np.where(part == -1, NO_CLASS, part).tolist() for part in cut(labels, offsets)]
    expected = zip(cut(values, offsets), targets, strict=True)
    assert found(task) == {sequence.tobytes(): target for sequence, target in expected}


def dense(folder, values, labels, toml=""):
    keys = 'inputs = "x.npy"\nlabels = "all.npz:y"\nper_step = true\n'
    write(folder, values, keys + toml, y=labels)


def test_arrays_of_equal_lengths_have_labels_of_steps_too(tmp_path, rng):
    values, labels = rng.normal(size=(30, 7, 2)), NAMES[rng.integers(0, 3, (30, 7))]
    labels[0, :3] = NAMES
    labels[1, 2] = "  "
    dense(tmp_path, values, labels, 'classes = ["rest", "wave", "push"]')
    numbers = np.array([[[*NAMES].index(y) if y in NAMES else -1 for y in row] for row in labels])
    expected = zip(values, numbers.tolist(), strict=True)
    task = load(tmp_path)
    assert found(task) == {sequence.tobytes(): targets for sequence, targets in expected}
    assert task.is_equal
    chosen = task.train.batch(np.arange(19), 7)
    own = [found(task)[x.tobytes()] for x in task.train.inputs]
    np.testing.assert_array_equal(chosen.weights, np.array(own) >= 0)


@pytest.mark.parametrize("width", [(), (3,)])
def test_numbers_of_every_step_are_predicted_and_a_gap_counts_nothing(width, tmp_path, rng):
    values, labels = rng.normal(size=(30, 7, 2)), rng.normal(size=(30, 7, *width))
    labels[:, 4] = np.nan
    dense(tmp_path, values, labels, 'metric = "mse"')
    task = load(tmp_path)
    assert (task.per_step, task.out_features) == (True, (width or (1,))[0])
    batch = task.test.batch(np.arange(6), 7)
    np.testing.assert_array_equal(batch.weights, np.tile(np.arange(7) != 4, (6, 1)))
    rows = [[x.tobytes() for x in values].index(x.tobytes()) for x in task.test.inputs]
    mean, std = (np.array(task.facts[f"target_{name}"]) for name in ("mean", "std"))
    wanted = (labels[rows].reshape(6, 7, -1) - mean) / std
    counts = batch.weights > 0
    np.testing.assert_allclose(batch.targets[counts], wanted[counts], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", ["dense", "offsets"])
def test_npy_files_stay_on_disk(layout, values, offsets, tmp_path, rng):
    if layout == "dense":
        dense(tmp_path, rng.normal(size=(30, 7, 2)), rng.integers(0, 3, (30, 7)))
    else:
        write(tmp_path, values, y=NAMES[np.arange(30) % 3], offsets=offsets)
    array = load(tmp_path).train.inputs.values
    while isinstance(array, np.ndarray):
        array = array.base
    assert isinstance(array, mmap.mmap)


# what is refused

FAULTS = {
    "dense inputs": ({"x": lambda x: x[None]}, r"x.npy: expected .*steps, features. tog"),
    "flat inputs": ({"x": lambda x: x[:, 0]}, r"x.npy: .*for one feature, store x\[:, None\]$"),
    "one more step": ({"x": lambda x: np.repeat(x, 2, 0)}, "x.npy: expected as many steps as .*"),
    "real offsets": ({"offsets": lambda o: o / 1}, "offsets: expected .* integers, got .*64"),
    "a first one": ({"offsets": lambda o: o[1:]}, "offsets: expected offsets from 0 .* first$"),
    "no sequence": ({"offsets": lambda o: o[:1]}, "offsets: expected offsets from 0 .* 0 alone$"),
    "an empty one": ({"offsets": lambda o: np.insert(o, 4, o[4])}, "rise, .* for sample 4 .from 0"),
    "a falling one": ({"offsets": lambda o: np.insert(o, 4, 0)}, "rise, .* for sample 3 .from 0"),
    "labels": ({"y": lambda y: y[1:]}, "y: expected one entry for .* 30 sequences, got 29"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_offsets_are_reported(fault, values, offsets, tmp_path):
    change, sentence = FAULTS[fault]
    arrays = {"x": values, "y": NAMES[np.arange(30) % 3], "offsets": offsets}
    arrays |= {name: changed(arrays[name]) for name, changed in change.items()}
    write(tmp_path, arrays.pop("x"), **arrays)
    with pytest.raises(DataError, match=rf"^{re.escape(str(tmp_path))}[^\n]*$") as error:
        load(tmp_path)
    error.match(sentence)


def test_inputs_in_two_dimensions_need_offsets(values, offsets, tmp_path):
    write(tmp_path, values, OFFSETS.splitlines()[0] + '\nlabels = "all.npz:y"', y=NAMES)
    with pytest.raises(DataError, match=r"store x\[:, :, None\], and .* add offsets$"):
        load(tmp_path)


STEP_FAULTS = {
    "of sequences": (lambda y: y[:, 0], "", r"of shape \(30, 7\), got shape \(30,\) of int64"),
    "too many": (lambda y: np.stack([y, y], 2), "", r"of shape \(30, 7\), got shape \(30, 7, 2\)"),
    "real": (lambda y: y / 2, "", "integers or text of shape .*, got shape .* of float64"),
    "text": (lambda y: y.astype(str), 'metric = "mse"', "numbers of shape .*, got .* of <U"),
    "infinite": (
        lambda y: np.where(np.arange(7) == 3, np.inf, y),
        'metric = "mse"',
        "in the range of float32, got inf in step 3 of all",
    ),
    "no label": (lambda y: 0 * y - 1, "gaps = -1", "samples of two classes or more, got none"),
}


@pytest.mark.parametrize("fault", STEP_FAULTS)
def test_faulty_labels_of_steps_are_reported(fault, tmp_path, rng):
    change, toml, sentence = STEP_FAULTS[fault]
    dense(tmp_path, rng.normal(size=(30, 7, 2)), change(rng.integers(0, 3, (30, 7))), toml)
    with pytest.raises(DataError, match=rf"^{re.escape(str(tmp_path))}[^\n]*$") as error:
        load(tmp_path)
    error.match(sentence)


@pytest.mark.parametrize("key", ['offsets = "o.npy"', "per_step = true"])
@pytest.mark.parametrize("layout", ['index = "index.csv"', 'archive = "Own"'])
def test_offsets_and_labels_of_steps_belong_to_arrays(key, layout, tmp_path):
    (tmp_path / "dataset.toml").write_text(f"{layout}\n{key}")
    with pytest.raises(DataError, match=f"expected .*{key.split()[0]}"):
        load(tmp_path)


def test_per_step_is_true_or_false(tmp_path):
    (tmp_path / "dataset.toml").write_text("per_step = 1")
    with pytest.raises(DataError, match="expected true or false for per_step, got 1"):
        load(tmp_path)
