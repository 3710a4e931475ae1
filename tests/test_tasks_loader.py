"""Laws of the two ways to draw batches."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest

from sbo_jax.tasks._types import DataError
from sbo_jax.tasks.loader import evaluation_batches, training_batches


@dataclass(frozen=True)
class Counting:
    """Sample i is the number i."""

    size: int

    def __len__(self):
        return self.size

    def fetch(self, indices):
        return indices[:, None, None].astype(np.float32), indices.astype(np.int32)


def drawn(source, batch_size, count, **kwargs):
    batches = itertools.islice(training_batches(source, batch_size, **kwargs), count)
    return np.array([batch.targets for batch in batches])


def test_a_pass_visits_each_sample_once():
    assert sorted(drawn(Counting(60), 6, 10, seed=0).ravel()) == list(range(60))


def test_every_pass_visits_each_sample_once():
    passes = drawn(Counting(60), 6, 30, seed=0).reshape(3, 60)
    assert (np.sort(passes) == np.arange(60)).all()


def test_passes_differ_in_order():
    first, second = drawn(Counting(60), 60, 2, seed=0)
    assert (first != second).any()


def test_seeds_differ_in_order():
    assert (drawn(Counting(60), 6, 10, seed=0) != drawn(Counting(60), 6, 10, seed=1)).any()


def test_the_same_seed_gives_the_same_batches():
    np.testing.assert_array_equal(
        drawn(Counting(60), 7, 30, seed=5), drawn(Counting(60), 7, 30, seed=5)
    )


@pytest.mark.parametrize("start", [1, 7, 8, 9, 20])
def test_batches_from_a_position_are_the_tail_of_batches_from_the_start(start):
    whole = drawn(Counting(60), 7, 30, seed=0)
    np.testing.assert_array_equal(
        drawn(Counting(60), 7, 30 - start, seed=0, start=start), whole[start:]
    )


def test_a_batch_never_spans_two_passes():
    for batch in drawn(Counting(20), 7, 40, seed=0):
        assert len(set(batch)) == 7


def test_samples_left_out_of_a_pass_are_others_in_other_passes():
    passes = drawn(Counting(20), 7, 20, seed=0).reshape(10, 14)
    assert len({frozenset(visited) for visited in passes}) > 1


def test_a_source_longer_than_a_block_is_visited_whole(monkeypatch):
    monkeypatch.setattr("sbo_jax.tasks.loader._BLOCK", 16)
    passes = drawn(Counting(60), 6, 20, seed=0).reshape(2, 60)
    assert (np.sort(passes) == np.arange(60)).all()


def test_a_virtual_source_of_a_billion_samples_costs_one_block():
    batches = drawn(Counting(2**30), 64, 100, seed=0)
    assert batches.max() < 2**30
    assert len(np.unique(batches)) == 6400


def test_an_error_of_the_source_reaches_the_caller():
    class Faulty(Counting):
        def fetch(self, indices):
            raise OSError("no such sample")

    with pytest.raises(OSError, match="no such sample"):
        next(training_batches(Faulty(20), 7, seed=0))


def test_one_batch_is_read_ahead():
    fetched = []

    class Recording(Counting):
        def fetch(self, indices):
            fetched.append(len(indices))
            return super().fetch(indices)

    batches = training_batches(Recording(20), 7, seed=0)
    for number in range(1, 4):
        next(batches)
        assert number <= len(fetched) <= number + 1
    batches.close()  # waits for the one under way
    assert len(fetched) == 4


def test_training_batches_carry_full_weight():
    batch = next(training_batches(Counting(20), 7, seed=0))
    np.testing.assert_array_equal(batch.weights, np.ones(7, np.float32))


def test_evaluation_visits_each_sample_once_in_order():
    batches = list(evaluation_batches(Counting(20), 7))
    visited = np.concatenate([batch.targets[batch.weights > 0] for batch in batches])
    np.testing.assert_array_equal(visited, np.arange(20))


@pytest.mark.parametrize("size", [20, 21])
def test_evaluation_batches_have_one_shape(size):
    batches = list(evaluation_batches(Counting(size), 7))
    assert {batch.inputs.shape for batch in batches} == {(7, 1, 1)}
    assert {batch.weights.dtype for batch in batches} == {np.dtype(np.float32)}


def test_padding_has_weight_zero():
    *_, last = evaluation_batches(Counting(20), 7)
    np.testing.assert_array_equal(last.weights, [1, 1, 1, 1, 1, 1, 0])


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 0, "seed": 0},
        {"batch_size": 21, "seed": 0},
        {"batch_size": 2, "seed": -1},
        {"batch_size": 2, "seed": 0, "start": -1},
    ],
)
def test_settings_out_of_range_are_refused_before_the_first_batch(settings):
    with pytest.raises(DataError, match=r"^expected .*got .*try [^\n]*$"):
        training_batches(Counting(20), **settings)


def test_an_empty_evaluation_batch_is_refused():
    with pytest.raises(DataError, match=r"^expected batch_size >= 1, got 0; try"):
        evaluation_batches(Counting(20), 0)
