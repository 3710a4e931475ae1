"""Laws of the keys `max_length` and `keep`."""

import itertools
import re

import numpy as np
import pytest

from sbo_jax import tasks
from sbo_jax.tasks._types import DataError

PARTS = ("train", "validation", "test")


def load(path, **options):
    return tasks.load("folder", folder=path, **options)


@pytest.fixture
def offsets(rng):
    return np.concatenate([[0], np.cumsum(rng.integers(1, 20, 30))])


@pytest.fixture
def sequences(rng, offsets):
    values = rng.normal(size=(offsets[-1], 2))
    return [values[first:end] for first, end in itertools.pairwise(offsets)]


def write(folder, sequences, offsets, toml, labels=None):
    labels = np.arange(30) % 2 if labels is None else labels
    np.save(folder / "x.npy", np.concatenate(sequences))
    np.savez(folder / "all.npz", y=labels, offsets=offsets)
    keys = 'inputs = "x.npy"\nlabels = "all.npz:y"\noffsets = "all.npz:offsets"\n'
    (folder / "dataset.toml").write_text(keys + toml)
    return folder


def ends(sequence, keep, most):
    return sequence[:most] if keep == "start" else sequence[-most:]


@pytest.mark.parametrize("keep", ["start", "end"])
def test_longer_sequences_are_cut_and_counted_and_nothing_is_copied(
    keep, sequences, offsets, tmp_path, rng
):
    most = int(rng.integers(1, 12))
    write(tmp_path, sequences, offsets, f'max_length = {most}\nkeep = "{keep}"')
    whole = {ends(x, keep, most).tobytes(): (x, i % 2) for i, x in enumerate(sequences)}
    task = load(tmp_path)
    facts = task.facts["max_length"]
    assert (facts["steps"], facts["keep"]) == (most, keep)
    for part in PARTS:
        source = getattr(task, part)
        own = [whole[x.tobytes()] for x in source.inputs]
        assert [label for _, label in own] == source.targets.tolist()
        excess = [len(x) - most for x, _ in own if len(x) > most]
        assert facts[part] == {"cut": len(excess), "steps_cut": sum(excess)}
        assert np.shares_memory(source.inputs.values, task.train.inputs.values)
    assert task.length == min(most, np.diff(offsets).max())


@pytest.mark.parametrize("keep", ["start", "end"])
def test_labels_of_steps_are_cut_with_the_steps(keep, sequences, offsets, tmp_path, rng):
    labels = rng.integers(0, 2, offsets[-1])
    toml = f'max_length = 5\nkeep = "{keep}"\nper_step = true'
    write(tmp_path, sequences, offsets, toml, labels)
    expected = {
        ends(x, keep, 5).tobytes(): ends(labels[first:end], keep, 5).tolist()
        for x, (first, end) in zip(sequences, itertools.pairwise(offsets), strict=True)
    }
    task = load(tmp_path)
    for source in (task.train, task.validation, task.test):
        for inputs, targets in zip(source.inputs, source.targets, strict=True):
            assert expected[inputs.tobytes()] == targets.tolist()


def test_values_are_carried_before_steps_are_cut(sequences, offsets, tmp_path):
    for sequence in sequences:
        sequence[1:, 1] = np.nan
    write(tmp_path, sequences, offsets, 'max_length = 1\nkeep = "end"\nmissing = "carry"')
    expected = {(sequence[-1, 0], sequence[0, 1]) for sequence in sequences}
    task = load(tmp_path)
    found = [tuple(x[0]) for part in PARTS for x in getattr(task, part).inputs]
    assert set(found) == expected


def test_a_sequence_that_is_too_long_is_refused_by_name_and_length(sequences, offsets, tmp_path):
    lengths = np.diff(offsets)
    write(tmp_path, sequences, offsets, f"max_length = {lengths.max() - 1}")
    longest = "|".join(map(str, np.flatnonzero(lengths == lengths.max())))
    sentence = (
        rf"y, sample ({longest}) \(from 0\): expected at most max_length = {lengths.max() - 1} "
        rf'steps in a sequence, got {lengths.max()}; add keep = "end" or "start" to cut.*$'
    )
    with pytest.raises(DataError, match=sentence):
        load(tmp_path)
    write(tmp_path, sequences, offsets, f"max_length = {lengths.max()}")
    assert "max_length" not in load(tmp_path).facts


FAULTS = {
    "none": ("max_length = 0", "expected max_length >= 1, got 0"),
    "half": ("max_length = 1.5", "expected an integer for max_length, got 1.5"),
    "keep alone": ('keep = "end"', "expected keep together with max_length alone; leave it out"),
    "middle": ('max_length = 9\nkeep = "mid"', 'expected keep = "start" or "end", got .mid.'),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_limit_is_reported(fault, sequences, offsets, tmp_path):
    toml, sentence = FAULTS[fault]
    write(tmp_path, sequences, offsets, toml)
    with pytest.raises(DataError, match=f"^{re.escape(str(tmp_path))}.*{sentence}$"):
        load(tmp_path)
