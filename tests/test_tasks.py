"""Laws of the tasks that need no files, of their splits and of their names."""

import json
import subprocess
import sys
from dataclasses import replace
from typing import get_args

import jax
import numpy as np
import pytest
from task_properties import check_properties

from sbo_jax import tasks
from sbo_jax.tasks import registry, splits
from sbo_jax.tasks.sources.arrays import normalised
from sbo_jax.tasks.sources.spread import spread


def everything(source):
    return source.fetch(np.arange(len(source)))


@pytest.fixture(scope="module")
def digits():
    return tasks.load("digits")


@pytest.fixture(scope="module")
def adding():
    return tasks.load("adding", length=11)


# splits


def test_stratified_halves_are_disjoint_and_cover(rng):
    labels = rng.integers(0, 5, 203)
    kept, held = splits.stratified(labels, 41, seed=3)
    assert sorted([*kept, *held]) == list(range(203))


def test_stratified_holds_out_exactly_what_was_asked(rng):
    labels = rng.integers(0, 7, 203)
    _, held = splits.stratified(labels, 41, seed=3)
    assert len(held) == 41


def test_stratified_proportions_are_those_of_the_whole_to_one_sample(rng):
    labels = rng.integers(0, 5, 203)
    _, held = splits.stratified(labels, 41, seed=3)
    exact = np.bincount(labels, minlength=5) * 41 / 203
    assert np.abs(np.bincount(labels[held], minlength=5) - exact).max() < 1


def test_a_split_depends_on_its_seed_alone():
    labels = np.arange(200) % 5
    held = [splits.stratified(labels, 40, seed)[1] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(held[0], held[1])
    assert set(held[0]) != set(held[2])


def test_groups_leave_as_a_whole(rng):
    groups = rng.integers(0, 21, 500)
    kept, held = splits.by_group(groups, 0.2, seed=0)
    assert not set(groups[kept]) & set(groups[held])
    assert len(set(groups[held])) == 4
    assert len(kept) + len(held) == 500


# normalisation


def test_moments_are_those_of_numpy(rng):
    inputs = rng.normal(3, 2, (50, 7, 4))
    found = spread([inputs])
    np.testing.assert_allclose(found.mean, inputs.mean((0, 1)), rtol=1e-6)
    np.testing.assert_allclose(found.std, inputs.std((0, 1)), rtol=1e-6)


def test_a_constant_channel_becomes_zero():
    data = (np.full((5, 3, 1), 7, np.uint8), np.zeros(5))
    assert not everything(normalised(data, data, data).train)[0].any()


def test_normalisation_ignores_validation_and_test(rng):
    train = (rng.normal(size=(30, 4, 2)), np.zeros(30))
    strange = (rng.normal(100, 50, size=(30, 4, 2)), np.zeros(30))
    plain, other = normalised(train, train, train), normalised(train, strange, strange)
    np.testing.assert_array_equal(plain.train.scaler.mean, other.test.scaler.mean)
    np.testing.assert_array_equal(plain.train.scaler.std, other.validation.scaler.std)


# digits


def test_digits_are_1797_in_three_disjoint_splits(digits):
    assert [len(s) for s in (digits.train, digits.validation, digits.test)] == [1150, 287, 360]
    rows = [
        row.tobytes() for s in (digits.train, digits.validation, digits.test) for row in s.inputs
    ]
    assert len(set(rows)) == 1797


def test_digits_train_has_mean_zero_and_std_one(digits):
    inputs, _ = everything(digits.train)
    np.testing.assert_allclose([inputs.mean(), inputs.std()], [0, 1], atol=1e-4)


def test_the_digits_test_set_never_moves(digits):
    other = tasks.load("digits", seed=1)
    np.testing.assert_array_equal(other.test.inputs, digits.test.inputs)
    assert not np.array_equal(other.validation.inputs, digits.validation.inputs)


def test_digits_classes_are_balanced_in_each_split(digits):
    for source in (digits.train, digits.validation, digits.test):
        shares = np.bincount(source.targets, minlength=10) / len(source)
        np.testing.assert_allclose(shares, 0.1, atol=0.01)


# adding


def test_the_adding_target_is_the_sum_of_the_marked_values(adding):
    inputs, targets = everything(adding.validation)
    np.testing.assert_array_equal((inputs[..., 0] * inputs[..., 1]).sum(1), targets[:, 0])


@pytest.mark.parametrize("length", [2, 3, 11])
def test_exactly_one_mark_lies_in_each_half(length):
    inputs, _ = everything(tasks.load("adding", length=length).validation)
    marks = inputs[..., 1]
    assert set(np.unique(marks)) <= {0.0, 1.0}
    assert (marks[:, : length // 2].sum(1) == 1).all()
    assert (marks[:, length // 2 :].sum(1) == 1).all()


def test_marks_reach_every_step(adding):
    inputs, _ = everything(adding.validation)
    assert inputs[..., 1].any(0).all()


def test_values_are_uniform(adding):
    values = everything(adding.test)[0][..., 0]
    assert values.min() >= 0
    assert values.max() < 1
    np.testing.assert_allclose([values.mean(), values.var()], [1 / 2, 1 / 12], atol=0.01)


def test_the_same_index_gives_the_same_sample_in_any_company(adding):
    alone, _ = adding.train.fetch(np.array([5]))
    together, _ = adding.train.fetch(np.array([9, 5, 2**30 - 1]))
    np.testing.assert_array_equal(alone[0], together[1])


def test_different_indices_give_different_samples(adding):
    inputs, _ = everything(adding.validation)
    assert len({sample.tobytes() for sample in inputs}) == 1000


def test_different_splits_and_seeds_give_different_samples(adding):
    other = tasks.load("adding", length=11, seed=1)
    sources = (adding.train, adding.validation, adding.test, other.train)
    samples = {source.fetch(np.arange(1))[0].tobytes() for source in sources}
    assert len(samples) == 4


def test_predicting_one_gives_the_mean_squared_error_one_sixth(adding):
    _, targets = adding.train.fetch(np.arange(20_000))
    np.testing.assert_allclose(np.mean((targets - 1) ** 2), 1 / 6, atol=5e-3)


# recall


@pytest.mark.parametrize("length", [8, 43, 256])
def test_every_query_asks_for_the_value_that_stood_beside_its_key(length):
    task = tasks.load("recall", length=length)
    inputs, targets = task.validation.fetch(np.arange(20))
    assert set(np.unique(inputs.sum(-1))) <= {0.0, 1.0}  # one token at most
    for tokens, blank, answers in zip(inputs.argmax(-1), ~inputs.any(-1), targets, strict=True):
        pairs = length // 8
        keys, values = tokens[: 2 * pairs : 2], tokens[1 : 2 * pairs : 2] - 128
        assert len(set(keys)) == pairs
        assert keys.max() < 128
        asked = np.flatnonzero(answers >= 0)
        assert sorted(tokens[asked]) == sorted(keys)
        stood_beside = dict(zip(keys.tolist(), values.tolist(), strict=True))
        assert [stood_beside[key] for key in tokens[asked].tolist()] == answers[asked].tolist()
        np.testing.assert_array_equal(
            np.flatnonzero(blank | (answers >= 0)), range(2 * pairs, length)
        )


@pytest.mark.parametrize("name", ["adding", "recall"])
def test_generated_samples_are_the_same_in_float64(name):
    source = tasks.load(name, length=40).validation
    expected = source.fetch(np.arange(3))
    with jax.enable_x64(True):
        found = source.fetch(np.arange(3))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_queries_reach_every_later_step_and_every_value():
    _, targets = everything(tasks.load("recall", length=64).test)
    assert (targets[:, :16] < 0).all()
    assert (targets[:, 16:] >= 0).any(0).all()
    assert set(np.unique(targets)) == set(range(-1, 128))


def test_only_the_steps_of_queries_count():
    task = tasks.load("recall", length=64)
    for batches in (
        tasks.training_batches(task.train, 8, seed=0),
        tasks.evaluation_batches(task.validation, 8),
    ):
        batch = next(batches)
        assert batch.weights.shape == batch.targets.shape == (8, 64)
        assert (batch.weights.sum(1) == 8).all()
        assert batch.targets.min() >= 0


# names and contracts


@pytest.mark.parametrize("name", ["digits", "adding"])
def test_batches_have_the_shapes_and_types_a_task_states(name):
    task = tasks.load(name)
    batch = next(tasks.training_batches(task.train, 8, seed=0))
    assert batch.inputs.shape == (8, task.length, task.in_features)
    targets = {"accuracy": ((8,), np.int32), "mse": ((8, task.out_features), np.float32)}
    assert (batch.targets.shape, batch.targets.dtype) == targets[task.metric]
    assert {type(field) for field in jax.tree.leaves(batch)} == {np.ndarray}
    assert batch.inputs.dtype == np.float32


@pytest.mark.parametrize("name", ["digits", "adding", "recall"])
def test_facts_are_json_and_name_the_split_seed(name):
    assert json.loads(json.dumps(dict(tasks.load(name, seed=4).facts)))["split_seed"] == 4


@pytest.mark.parametrize("name", ["digits", "adding", "recall"])
def test_an_entry_states_the_properties_of_its_task(name):
    check_properties(name, tasks.load(name))


def test_a_command_line_offers_the_names_of_the_table():
    assert get_args(tasks.TaskName) == tuple(registry.TASKS)


def test_a_loader_that_ignores_the_fraction_fails_loudly(monkeypatch, digits):
    forgetful = replace(registry.TASKS["digits"], load=lambda request: digits)
    monkeypatch.setattr(registry, "TASKS", {**registry.TASKS, "digits": forgetful})
    assert tasks.load("digits") is digits
    with pytest.raises(NotImplementedError, match="digits ignores train_fraction"):
        tasks.load("digits", train_fraction=0.5)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"name": "mnits"}, r"expected a task among digits, .*folder, got 'mnits'; .*"),
        ({"name": "permuted-mnist"}, r".*did you mean permuted_mnist\?"),
        ({"name": "digits", "seed": -1}, r"expected a seed from 0 .*, got -1; try 0"),
        (
            {"name": "digits", "length": 9},
            r"length 9 has no effect with the task digits; remove it, .* adding, recall or ptb",
        ),
        ({"name": "recall", "length": 7}, r"expected 8 <= length <= 1024 .*, got 7; try 256"),
        ({"name": "recall", "length": 1025}, r"expected 8 <= length .*, got 1025; try 256"),
        ({"name": "adding", "length": 1}, r"expected length >= 2 .*, got 1; try 100"),
    ],
)
def test_a_wrong_setting_gives_one_sentence(settings, sentence):
    with pytest.raises(tasks.DataError, match=f"^{sentence}$"):
        tasks.load(**settings)


def test_importing_tasks_prints_nothing_warns_nothing_and_loads_nothing_heavy():
    code = (
        "import sys, sbo_jax.tasks;"
        "sys.exit(bool({'tensorflow', 'tensorflow_datasets', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
