"""Laws of the tasks that hide an image behind noise, and of CIFAR-10's original archive.

The archives are tiny ones of the original format; the real one has not been read by any test.
"""

import functools
import gzip
import io
import tarfile

import numpy as np
import pytest
from task_properties import check_properties

from sbo_jax import tasks
from sbo_jax.runs import TrainConfig, prepare
from sbo_jax.runs.folder.description import describe
from sbo_jax.tasks._types import DataError, Recipe, Task
from sbo_jax.tasks.builders.cifar10 import SboCifar10
from sbo_jax.tasks.builders.records import prepared_builder, read_split
from sbo_jax.tasks.catalogue import cifar10
from sbo_jax.tasks.catalogue.noisy import with_noise
from sbo_jax.tasks.raw import cifar10 as raw
from sbo_jax.tasks.sources.arrays import normalised
from sbo_jax.trained import TrainedRun

EXPECTED = raw.ExpectedCifar10(20, (10,) * 10, (2,) * 10)
FILES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]


def tarred(members):
    """A tar archive of {name: content}."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def files(rng):
    """{name: records} of 20 random images each, as the original has them."""
    labels = np.arange(20, dtype=np.uint8)[:, None] % 10
    pixels = {name: rng.integers(0, 256, (20, 3072), np.uint8) for name in FILES}
    return {name: np.hstack([labels, pixels[name]]).tobytes() for name in FILES}


@pytest.fixture
def archive(files, tmp_path):
    path = tmp_path / "raw/cifar10/cifar-10-binary.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(tarred(files)))
    return path


@pytest.fixture
def load(archive, tmp_path, monkeypatch):
    """`tasks.load` where twenty records a file are all that CIFAR-10 has."""
    own = functools.partial(cifar10.pixel, expected=EXPECTED)
    monkeypatch.setattr("sbo_jax.tasks.catalogue.cifar10.pixel", own)
    return functools.partial(tasks.load, data_dir=tmp_path / "d", raw_dir=archive.parents[1])


def rows_task(rng, size=6, columns=28):
    """A task of `size` random images, pixel by pixel."""
    images = rng.integers(0, 256, (size, columns**2, 1), np.uint8)
    data = normalised(*[(images, np.arange(size) % 2)] * 3)
    shape = {"length": columns**2, "in_features": 1, "out_features": 2, "epoch_size": size}
    sources = {"train": data.train, "validation": data.validation, "test": data.test}
    return Task(name="x", **sources, **shape, metric="accuracy", recipe=Recipe(1, 2, 0.1), facts={})


# noise


def test_a_noisy_sample_is_the_rows_of_the_image_and_then_noise(rng):
    task = rows_task(rng)
    pixels, labels = task.test.fetch(np.arange(6))
    inputs, targets = with_noise(task, "noisy").test.fetch(np.arange(6))
    assert (inputs.shape, inputs.dtype) == ((6, 1000, 28), np.float32)
    np.testing.assert_array_equal(inputs[:, :28], pixels.reshape(6, 28, 28))
    np.testing.assert_array_equal(targets, labels)


def test_all_samples_of_all_splits_share_one_draw_of_the_noise(rng):
    one, other = with_noise(rows_task(rng), "a"), with_noise(rows_task(rng, 4), "b")
    tails = [
        source.fetch(np.arange(len(source)))[0][:, 28:]
        for source in (one.train, one.validation, one.test, other.test)
    ]
    for sample in np.concatenate(tails):
        np.testing.assert_array_equal(sample, tails[0][0])


def test_the_noise_is_standard_normal(rng):
    noise = with_noise(rows_task(rng), "noisy").train.noise
    assert noise.shape == (972, 28)
    np.testing.assert_allclose([noise.mean(), noise.std()], [0, 1], atol=0.02)
    assert np.abs(np.corrcoef(noise.T) - np.eye(28)).max() < 0.2


def test_the_padded_samples_are_never_stored(rng):
    source = with_noise(rows_task(rng), "noisy").train
    stored = source.pixels.inputs.nbytes + source.noise.nbytes
    assert source.pixels.inputs.dtype == np.uint8
    assert stored < source.fetch(np.arange(6))[0].nbytes


def test_noisy_cifar10_shows_32_rows_of_96_numbers_and_968_of_noise(load, files):
    task = load("noisy_cifar10")
    inputs, targets = task.test.fetch(np.arange(20))
    assert inputs.shape == (20, task.length, task.in_features) == (20, 1000, 96)
    records = np.frombuffer(files["test_batch.bin"], np.uint8).reshape(20, 3073)
    images = records[:, 1:].reshape(20, 3, 32, 32).transpose(0, 2, 3, 1)
    expected = (images - np.array(task.facts["pixel_mean"])) / task.facts["pixel_std"]
    np.testing.assert_allclose(inputs[:, :32], expected.reshape(20, 32, 96), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(targets, records[:, 0])
    np.testing.assert_array_equal(inputs[0, 32:], task.train.fetch(np.arange(1))[0][0, 32:])
    assert task.facts["noise_seed"] == 0


def test_the_entry_states_the_properties_of_the_task(load):
    check_properties("noisy_cifar10", load("noisy_cifar10"))


def test_the_colours_of_cifar10_are_normalised_one_by_one(load):
    inputs, _ = (task := load("noisy_cifar10")).train.fetch(np.arange(80))
    colours = inputs[:, :32].reshape(80, -1, 3)
    np.testing.assert_allclose(colours.mean((0, 1)), np.zeros(3), atol=1e-4)
    np.testing.assert_allclose(colours.std((0, 1)), np.ones(3), atol=1e-4)
    assert len(task.facts["pixel_mean"]) == 3


def test_a_trained_run_reads_the_samples_as_the_task_has_them():
    task = with_noise(tasks.load("digits"), "noisy_mnist")
    config = TrainConfig.of(task="folder", folder="memory", hidden=4, batch_size=8)
    prepared = prepare(config, lambda _: task)
    content = describe(prepared.config, prepared.recipe, task)
    run = TrainedRun(prepared.model, content)
    inputs, targets = task.test.fetch(np.arange(8))
    expected = run.model(inputs).argmax(axis=-1)
    np.testing.assert_array_equal(run.predict(inputs), expected)
    assert run.score(inputs, targets) == np.mean(expected == targets)
    stream = run.stream(8)
    for step in inputs.swapaxes(0, 1):
        stream.push(step)
    np.testing.assert_allclose(stream.predict_proba(), run.predict_proba(inputs), atol=1e-4)


def test_a_part_of_a_noisy_task_has_the_moments_of_the_part(load):
    whole, part = load("noisy_cifar10"), load("noisy_cifar10", train_fraction=0.25)
    assert (len(part.train), part.epoch_size, len(part.test)) == (20, 20, len(whole.test))
    inputs, _ = part.train.fetch(np.arange(20))
    np.testing.assert_allclose(inputs[:, :32].mean(), 0, atol=1e-4)
    assert part.facts["noise_seed"] == whole.facts["noise_seed"]


# the archive


def test_cifar10_records_are_the_original_pixels_in_the_original_order(archive, files, tmp_path):
    builder = prepared_builder(SboCifar10, tmp_path / "data", archive.parents[1], EXPECTED)
    for split, names in (("train", FILES[:5]), ("test", FILES[5:])):
        content = b"".join(files[name] for name in names)
        records = np.frombuffer(content, np.uint8).reshape(-1, 3073)
        found = read_split(builder, split)
        red, blue = records[:, 1:1025], records[:, 2049:]
        np.testing.assert_array_equal(found["image"][..., 0].reshape(-1, 1024), red)
        np.testing.assert_array_equal(found["image"][..., 2].reshape(-1, 1024), blue)
        np.testing.assert_array_equal(found["label"], records[:, 0])


def changed(name, change):
    """A change of one file in the archive; None removes it."""

    def apply(content):
        with tarfile.open(fileobj=io.BytesIO(content)) as old:
            members = {member.name.split("/")[1]: old.extractfile(member).read() for member in old}
        new = change(members.pop(name))
        return tarred(members if new is None else members | {name: new})

    return lambda path: path.write_bytes(gzip.compress(apply(gzip.decompress(path.read_bytes()))))


def flip_a_byte(path):
    """Of the last block, which no file in the archive reaches."""
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)


FAULTS = {
    "missing": (lambda path: path.unlink(), "found no such file"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-2000]), "cannot be read"),
    "damaged": (flip_a_byte, "cannot be read"),
    "no gzip": (lambda path: path.write_bytes(b"<html>"), "cannot be read"),
    "no tar": (lambda path: path.write_bytes(gzip.compress(b"<html>" * 200)), "cannot be read"),
    "empty": (lambda path: path.write_bytes(b""), "cannot be read|found 0"),
    "missing member": (
        changed("data_batch_3.bin", lambda _: None),
        "data_batch_3.bin of .*found 0",
    ),
    "short member": (
        changed("test_batch.bin", lambda c: c[:-9]),
        "test_batch.bin of .*found 61451",
    ),
    "wrong label": (changed("test_batch.bin", lambda c: b"\x09" + c[1:]), r"\(1, 2, .*, 3\)"),
    "label 200": (changed("data_batch_1.bin", lambda c: b"\xc8" + c[1:]), "label counts"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_archive_gives_one_sentence_that_names_it(fault, archive):
    damage, found = FAULTS[fault]
    damage(archive)
    with pytest.raises(DataError, match=rf"^expected [^\n]*{archive.name}[^\n]*$") as error:
        raw.read(raw.find(archive.parents[1]), EXPECTED)
    error.match(found)
