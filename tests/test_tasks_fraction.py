"""Laws of training on a part of the samples."""

import numpy as np
import pytest

from sbo_jax import tasks
from sbo_jax.tasks import splits
from sbo_jax.training.fit import steps_per_epoch


def rows(source):
    return {row.tobytes() for row in source.inputs}


@pytest.fixture(scope="module")
def whole():
    return tasks.load("digits", seed=3)


@pytest.fixture(scope="module", params=[0.01, 0.1, 0.5])
def fraction(request):
    return request.param


@pytest.fixture(scope="module")
def part(fraction):
    return tasks.load("digits", seed=3, train_fraction=fraction)


def test_the_part_has_as_many_samples_as_were_asked_for(whole, part, fraction):
    assert len(part.train) == part.epoch_size == round(fraction * len(whole.train))


def test_the_part_is_of_training_samples_alone(whole, part):
    assert rows(part.train) < rows(whole.train)


def test_validation_and_test_stay_as_they_were(whole, part):
    for name in ("validation", "test"):
        of_whole, of_part = getattr(whole, name), getattr(part, name)
        np.testing.assert_array_equal(of_part.inputs, of_whole.inputs)
        np.testing.assert_array_equal(of_part.targets, of_whole.targets)


def test_normalisation_is_that_of_the_part(part):
    inputs, _ = part.train.fetch(np.arange(len(part.train)))
    np.testing.assert_allclose([inputs.mean(), inputs.std()], [0, 1], atol=1e-4)
    for source in (part.validation, part.test):
        np.testing.assert_array_equal(source.scaler.mean, part.train.scaler.mean)


def test_the_facts_have_the_fraction_and_the_counts(whole, part, fraction):
    assert part.facts["train_fraction"] == fraction
    assert part.facts["counts"] == {**whole.facts["counts"], "train": len(part.train)}
    assert part.facts["mean"] == part.train.scaler.mean.tolist()


def test_the_split_seed_alone_decides_who_is_in_the_part():
    first, again, other = (
        rows(tasks.load("digits", seed=seed, train_fraction=0.1).train) for seed in (5, 5, 6)
    )
    assert first == again != other


def test_every_class_keeps_its_share_and_one_sample_at_least(rng):
    labels = rng.permutation(np.repeat(np.arange(6), [500, 300, 150, 60, 2, 1]))
    chosen = splits.part(labels, 0.05, seed=int(rng.integers(1000)))
    counts = np.bincount(labels[chosen], minlength=6)
    assert counts.min() == 1
    assert np.abs(counts[:4] - 0.05 * np.array([500, 300, 150, 60])).max() < 1
    assert len(set(chosen)) == len(chosen)


def test_all_of_the_samples_are_all_of_the_samples(whole):
    everyone = tasks.load("digits", seed=3, train_fraction=1.0)
    np.testing.assert_array_equal(everyone.train.inputs, whole.train.inputs)
    np.testing.assert_array_equal(everyone.train.scaler.mean, whole.train.scaler.mean)


def test_a_part_of_adding_is_a_fixed_pool_of_the_first_samples():
    whole, part = (tasks.load("adding", length=5, train_fraction=f) for f in (None, 0.01))
    assert len(part.train) == part.epoch_size == part.facts["counts"]["train"] == 64
    pool = np.arange(64)
    for of_part, of_whole in zip(part.train.fetch(pool), whole.train.fetch(pool), strict=True):
        np.testing.assert_array_equal(of_part, of_whole)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(tasks.DataError, match=r"^expected 0 < train_fraction <= 1, got"):
        tasks.load("adding", train_fraction=fraction)


def test_fewer_samples_than_a_batch_are_refused_with_the_option_to_change():
    task = tasks.load("adding", length=5, train_fraction=0.005)
    with pytest.raises(ValueError, match=r"the 32 training samples .*got 64; try --batch-size 32$"):
        steps_per_epoch(task, 64)
