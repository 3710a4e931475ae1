"""Features are centred and scaled in float64, and refused where rounding leaves nothing of them."""

import json

import numpy as np
import pytest

from sbo_jax import tasks
from sbo_jax.tasks._types import DataError
from sbo_jax.tasks.sources.arrays import normalised
from sbo_jax.tasks.sources.scaling import Scaler
from sbo_jax.tasks.sources.spread import ends, spread

OFFSETS = {"Unix seconds": 1.7e9, "Julian days": 2460000.5, "UTM northings": 5.3e6, "none": 0.0}


def everything(source):
    return source.fetch(np.arange(len(source)))[0]


def as_arrays(folder, inputs, targets=None):
    labels = np.arange(len(inputs)) % 2 if targets is None else targets
    np.savez(folder / "all.npz", x=inputs, y=labels)
    metric = "accuracy" if targets is None else "mse"
    text = f'inputs = "all.npz:x"\nlabels = "all.npz:y"\nmetric = "{metric}"'
    (folder / "dataset.toml").write_text(text)


def as_sequences(folder, inputs):
    lines = ["file,label"]
    for number, sequence in enumerate(inputs):
        np.savetxt(folder / f"{number}.csv", sequence, "%.17g", delimiter=",")
        lines.append(f"{number}.csv,{'ab'[number % 2]}")
    (folder / "index.csv").write_text("\n".join(lines))
    (folder / "dataset.toml").write_text('index = "index.csv"')


def load(folder):
    return tasks.load("folder", folder=folder)


@pytest.mark.parametrize("write", [as_arrays, as_sequences])
@pytest.mark.parametrize("offset", OFFSETS)
def test_an_offset_does_not_cost_a_feature_its_digits(offset, write, tmp_path, rng):
    inputs = OFFSETS[offset] + rng.normal(size=(20, 5, 2))
    write(tmp_path, inputs)
    task = load(tmp_path)
    exact = np.stack(list(task.train.inputs)).astype(np.longdouble)
    centred = exact - exact.mean((0, 1))
    expected = centred / np.sqrt((centred**2).mean((0, 1)))
    np.testing.assert_allclose(everything(task.train), expected, rtol=1e-6, atol=1e-6)


def test_the_facts_have_what_scales_the_samples_in_float64(tmp_path, rng):
    as_arrays(tmp_path, 1.7e9 + rng.normal(size=(20, 5, 2)))
    task = load(tmp_path)
    facts = json.loads(json.dumps(task.facts))
    ours = (np.stack(list(task.test.inputs)) - np.array(facts["mean"])) / np.array(facts["std"])
    np.testing.assert_array_equal(everything(task.test), ours.astype(np.float32))


@pytest.mark.parametrize("size", [1e-45, 1e-39, 1e-30, 1e30, 3.3e38])
@pytest.mark.parametrize("write", [as_arrays, as_sequences])
def test_a_feature_of_any_size_of_float32_is_scaled(size, write, tmp_path, rng):
    signs = rng.choice([-1.0, 1.0], size=(40, 5, 2))
    write(tmp_path, size * signs)
    scaled = everything(load(tmp_path).train)
    np.testing.assert_allclose([scaled.mean(), scaled.std()], [0, 1], atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint64, np.float16, np.float32, ">f8"])
def test_every_real_type_is_scaled_as_its_float64(dtype, rng):
    inputs = rng.integers(0, 200, size=(9, 5, 3)).astype(dtype)
    data, wide = ((x, np.zeros(9, int)) for x in (inputs, inputs.astype(np.float64)))
    ours, theirs = (everything(normalised(x, x, x).train) for x in (data, wide))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_constant_of_any_size_becomes_zero(rng):
    constant = np.full((7, 9, 3), rng.normal(size=3) * 10.0 ** rng.integers(-30, 30))
    found = spread([constant])
    np.testing.assert_array_equal(found.mean, constant[0, 0])
    np.testing.assert_array_equal(found.std, 1)


@pytest.mark.parametrize("offset", OFFSETS)
def test_one_pass_finds_what_several_in_wider_numbers_do(offset, rng):
    """Blocks of any sizes, from one sample to more than a piece, with gaps in one feature."""
    sizes = [1, *rng.integers(1, 100, size=3), *rng.integers(3000, 40_000, size=3)]
    blocks = [OFFSETS[offset] + rng.normal(size=(size, 3)) for size in rng.permutation(sizes)]
    for block in blocks:
        block[rng.random(len(block)) < 0.3, 1] = np.nan
    blocks[0][:, 2] += 1000  # blocks need not be alike
    found, exact = spread(blocks), np.concatenate(blocks).astype(np.longdouble)
    np.testing.assert_array_equal(found.gaps, np.isnan(exact).sum(axis=0))
    np.testing.assert_array_equal(found.low, np.nanmin(exact, axis=0))
    np.testing.assert_array_equal(found.high, np.nanmax(exact, axis=0))
    np.testing.assert_array_equal(ends(blocks), [found.low, found.high])
    np.testing.assert_allclose(found.mean, np.nanmean(exact, axis=0).astype(float), 1e-15, 1e-11)
    np.testing.assert_allclose(found.std, np.nanstd(exact, axis=0).astype(float), 1e-12)


LOST = {
    "float32 of a time in seconds": lambda x: np.float32(1.7e9) + 100 * x.astype(np.float32),
    "float64 of a large number": lambda x: 1e17 + 10 * x,
    "float16": lambda x: (1000 + 0.5 * x).astype(np.float16),
    "beneath float64": lambda x: 1e-200 * x,
}


@pytest.mark.parametrize("kind", LOST)
def test_a_feature_whose_deviation_does_not_survive_is_refused_with_its_name(kind, tmp_path, rng):
    numbers = rng.uniform(-1, 1, size=(20, 5, 1))
    whole = rng.normal(size=(20, 5, 1))
    inputs = LOST[kind](numbers)
    with pytest.raises(DataError, match="feature 0 "):
        normalised(*[(inputs, np.zeros(20, int))] * 3)
    as_arrays(tmp_path, np.concatenate([whole.astype(inputs.dtype), inputs], axis=-1))
    with pytest.raises(DataError, match=rf"^{tmp_path}/dataset.toml: .*feature 1 .*counted from 0"):
        load(tmp_path)


def test_a_value_beyond_float32_once_scaled_is_refused_with_its_feature(rng):
    train, test = rng.normal(size=(2, 8, 3, 2)) * [1, 1e-30]
    test[3, 1, 1] = 1e38
    labels = np.zeros(8, int)
    with pytest.raises(DataError, match=r"feature 1 .*look for a wrong value"):
        normalised((train, labels), (train, labels), (test, labels))


def test_an_offset_does_not_cost_a_number_to_predict_its_digits(tmp_path, rng):
    numbers = 1.7e9 + 100 * rng.uniform(size=20)
    as_arrays(tmp_path, rng.normal(size=(20, 5, 2)), numbers)
    task = load(tmp_path)
    _, targets = task.train.fetch(np.arange(len(task.train)))
    own = task.train.targets[:, 0]
    np.testing.assert_allclose(targets[:, 0], (own - own.mean()) / own.std(), atol=1e-6)
    np.testing.assert_allclose(task.facts["target_mean"], own.mean(), rtol=1e-15)
    np.testing.assert_allclose([task.facts["target_std"], task.target_std], own.std(), rtol=1e-9)


def test_numbers_to_predict_that_rounding_merges_are_refused(tmp_path, rng):
    numbers = 1e17 + 16 * rng.permutation(np.arange(20) % 2)
    as_arrays(tmp_path, rng.normal(size=(20, 5, 2)), numbers)
    with pytest.raises(DataError, match=r"target 0 .*float64 has steps of 16"):
        load(tmp_path)


def test_a_lost_feature_is_called_as_in_the_header_of_its_file(tmp_path, rng):
    inputs = np.stack([rng.normal(size=(20, 5)), 1e17 + 10 * rng.uniform(size=(20, 5))], axis=-1)
    as_sequences(tmp_path, inputs)
    for path in tmp_path.glob("[0-9]*.csv"):
        path.write_text("made by\nspeed, time\n" + path.read_text())
    (tmp_path / "dataset.toml").write_text('index = "index.csv"\nheader_lines = 2')
    with pytest.raises(DataError, match=r"got feature 1 \('time'\) from"):
        load(tmp_path)


def test_integers_have_the_indicators_of_gaps_that_training_had(rng):
    scaler = Scaler(rng.normal(size=3), rng.uniform(0.5, 2, 3), indicated=(0, 2))
    values = rng.integers(-9, 9, size=(4, 5, 3))
    for kind in (np.int8, np.int16, np.int64):
        scaled = scaler(values.astype(kind))
        np.testing.assert_array_equal(scaled[..., 3:], np.zeros((4, 5, 2)))
        np.testing.assert_allclose(scaled, scaler(values.astype(float)), rtol=1e-5, atol=1e-6)
