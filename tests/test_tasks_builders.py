"""Laws of MNIST and UCI HAR: from original files to prepared records to tasks.

The files are tiny ones of the original format, written by the tests; the real ones are
checked too where a folder holds them (SBO_JAX_RAW_DIR, or shared/data/raw beside the
repository).
"""

import functools
import gzip
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import requests
import tensorflow_datasets as tfds
from task_properties import check_properties

from sbo_jax import tasks
from sbo_jax.tasks._types import DataError, Request
from sbo_jax.tasks.builders.cifar10 import SboCifar10
from sbo_jax.tasks.builders.download import fetch
from sbo_jax.tasks.builders.har import SboUciHar
from sbo_jax.tasks.builders.mnist import SboMnist
from sbo_jax.tasks.builders.ptb import SboPtb
from sbo_jax.tasks.builders.records import prepared_builder, read_split
from sbo_jax.tasks.catalogue import har, mnist
from sbo_jax.tasks.raw import har as raw_har
from sbo_jax.tasks.raw import mnist as raw_mnist

ROOT = Path(__file__).parents[1]
REAL = Path(os.environ.get("SBO_JAX_RAW_DIR", "no such folder"))
needs_real_files = pytest.mark.skipif(not REAL.is_dir(), reason="no folder with original files")


def idx(array):
    sizes = np.array(array.shape, ">u4").tobytes()
    return bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()


def digits(rng, size):
    """Random images, and labels of which there are equally many."""
    return rng.integers(0, 256, (size, 28, 28), np.uint8), np.arange(size, dtype=np.uint8) % 10


def expected_split(original, images, labels):
    """Like the original split, with files of these images and labels."""
    files = [
        raw_mnist.ExpectedIdx(whole.file, a.shape, hashlib.md5(idx(a)).hexdigest())
        for whole, a in ((original.images, images), (original.labels, labels))
    ]
    return raw_mnist.ExpectedSplit(*files, tuple(np.bincount(labels).tolist()))


@pytest.fixture
def mnist_files(tmp_path):
    """(raw_dir, expected, splits) of 50 training and 10 test digits."""
    rng = np.random.default_rng(0)
    data = {"train": digits(rng, 50), "test": digits(rng, 10)}
    expected = raw_mnist.ExpectedMnist(
        **{name: expected_split(getattr(raw_mnist.ORIGINAL, name), *data[name]) for name in data}
    )
    (tmp_path / "raw/mnist").mkdir(parents=True)
    for file, array in zip(expected.files(), (*data["train"], *data["test"]), strict=True):
        (tmp_path / "raw/mnist" / file).write_bytes(gzip.compress(idx(array)))
    return tmp_path / "raw", expected, data


HAR_EXPECTED = raw_har.ExpectedHar((10,) * 6, 5, (2,) * 6, 2)


def write_har(folder):
    """Ten (two) windows of each activity by five (two) subjects; returns the signals."""
    rng = np.random.default_rng(1)
    signals = {}
    for split, windows, subjects in (("train", 60, 5), ("test", 12, 2)):
        place = folder / raw_har.ROOT / split
        (place / "Inertial Signals").mkdir(parents=True)
        who, activities = np.arange(windows) % subjects + 1, np.arange(windows) // (windows // 6)
        np.savetxt(place / f"subject_{split}.txt", who, "%d")
        np.savetxt(place / f"y_{split}.txt", activities + 1, "%d")
        values = rng.normal(size=(windows, 128, 9)).round(4).astype(np.float32)
        signals[split] = values + 10 * np.arange(9, dtype=np.float32)
        for i, name in enumerate(raw_har.SIGNALS):
            text = place / f"Inertial Signals/{name}_{split}.txt"
            np.savetxt(text, signals[split][..., i], "%16.7e")
    return signals


@pytest.fixture(scope="module")
def har_template(tmp_path_factory):
    """(raw_dir, signals) with the unpacked folder and the archive of it."""
    raw_dir = tmp_path_factory.mktemp("har")
    signals = write_har(raw_dir / "uci_har")
    archive = raw_dir / "uci_har" / raw_har.ARCHIVE.removesuffix(".zip")
    shutil.make_archive(str(archive), "zip", raw_dir / "uci_har", raw_har.ROOT)
    return raw_dir, signals


@pytest.fixture
def har_archive(har_template, tmp_path):
    """raw_dir with nothing but a fresh copy of the archive."""
    (tmp_path / "raw/uci_har").mkdir(parents=True)
    shutil.copy(har_template[0] / "uci_har" / raw_har.ARCHIVE, tmp_path / "raw/uci_har")
    return tmp_path / "raw"


def files_under(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


# prepared records


def test_mnist_records_are_the_original_pixels_in_the_original_order(mnist_files, tmp_path):
    raw_dir, expected, data = mnist_files
    builder = prepared_builder(SboMnist, tmp_path / "data", raw_dir, expected)
    for split, (images, labels) in data.items():
        records = read_split(builder, split)
        np.testing.assert_array_equal(records["image"], images)
        np.testing.assert_array_equal(records["label"], labels)
        assert records["image"].dtype == np.uint8


def test_har_records_are_the_original_signals_in_the_original_order(har_template, tmp_path):
    raw_dir, signals = har_template
    builder = prepared_builder(SboUciHar, tmp_path, raw_dir, HAR_EXPECTED)
    for split, values in signals.items():
        records = read_split(builder, split)
        np.testing.assert_allclose(records["signals"], values, rtol=1e-6)
        np.testing.assert_array_equal(records["activity"], np.repeat(range(6), len(values) // 6))


def test_the_har_archive_and_its_unpacked_folder_say_the_same(har_template, har_archive):
    unpacked = raw_har.read(raw_har.find(har_template[0]), HAR_EXPECTED)
    packed = raw_har.read(raw_har.find(har_archive), HAR_EXPECTED)
    assert raw_har.find(har_template[0])[raw_har.ARCHIVE].is_dir()
    for split, name in (("test", "signals"), ("train", "subject")):
        np.testing.assert_array_equal(unpacked[split][name], packed[split][name])


def test_prepared_data_needs_no_original_files(mnist_files, tmp_path):
    raw_dir, expected, _ = mnist_files
    prepared_builder(SboMnist, tmp_path / "data", raw_dir, expected)
    shutil.rmtree(raw_dir)
    assert len(mnist.pixel(Request(0, data_dir=tmp_path / "data"), expected).test) == 10


def test_preparing_and_reading_import_no_tensorflow_and_print_nothing(
    mnist_files, tmp_path, capsys
):
    raw_dir, expected, _ = mnist_files
    mnist.pixel(Request(0, data_dir=tmp_path / "data", raw_dir=raw_dir), expected)
    assert "tensorflow" not in sys.modules
    assert capsys.readouterr().out == ""


def test_damaged_records_are_reported(mnist_files, tmp_path):
    raw_dir, expected, _ = mnist_files
    builder = prepared_builder(SboMnist, tmp_path / "data", raw_dir, expected)
    [records] = Path(builder.data_dir).glob("*test.array_record*")
    records.write_bytes(records.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"^expected prepared records in .*prepare again$"):
        read_split(builder, "test")


def test_a_data_dir_that_cannot_be_written_is_reported(mnist_files, tmp_path):
    raw_dir, expected, _ = mnist_files
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"^expected a data_dir that can be written.*data-dir\)$"):
        prepared_builder(SboMnist, tmp_path / "file", raw_dir, expected)


def test_of_two_processes_that_prepare_at_once_both_succeed(mnist_files, tmp_path, monkeypatch):
    raw_dir, expected, data = mnist_files
    read = raw_mnist.read

    def read_while_another_is_faster(paths, expected):
        monkeypatch.setattr(raw_mnist, "read", read)
        prepared_builder(SboMnist, tmp_path / "data", raw_dir, expected)
        return read(paths, expected)

    monkeypatch.setattr(raw_mnist, "read", read_while_another_is_faster)
    builder = prepared_builder(SboMnist, tmp_path / "data", raw_dir, expected)
    np.testing.assert_array_equal(read_split(builder, "test")["image"], data["test"][0])


# tasks of them


def test_the_permuted_task_shows_the_permuted_pixels(mnist_files, tmp_path):
    raw_dir, expected, data = mnist_files
    task = mnist.permuted(Request(0, data_dir=tmp_path / "d", raw_dir=raw_dir), expected)
    order = np.random.RandomState(12008).permutation(784)
    sequences = data["test"][0].reshape(10, 784)[:, order, None]
    inputs, targets = task.test.fetch(np.arange(10))
    mean, std = task.facts["mean"], task.facts["std"]
    np.testing.assert_allclose(inputs, (sequences - mean) / std, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(targets, data["test"][1])
    assert task.facts["permutation_seed"] == 12008


def test_the_pixel_splits_cover_the_training_images_and_are_stratified(mnist_files, tmp_path):
    raw_dir, expected, data = mnist_files
    task = mnist.pixel(Request(3, data_dir=tmp_path / "d", raw_dir=raw_dir), expected)
    sources = (task.train, task.validation)
    rows = {row.tobytes() for source in sources for row in source.inputs}
    assert rows == {row.tobytes() for row in data["train"][0]}
    assert [np.bincount(s.targets).tolist() for s in sources] == [[4] * 10, [1] * 10]


def test_pixel_train_has_mean_zero_and_std_one(mnist_files, tmp_path):
    raw_dir, expected, _ = mnist_files
    task = mnist.pixel(Request(0, data_dir=tmp_path / "d", raw_dir=raw_dir), expected)
    inputs, _ = task.train.fetch(np.arange(len(task.train)))
    np.testing.assert_allclose([inputs.mean(), inputs.std()], [0, 1], atol=1e-4)


@pytest.mark.parametrize("name", ["pixel_mnist", "permuted_mnist", "noisy_mnist"])
def test_an_entry_states_the_properties_of_its_task(name, mnist_files, tmp_path):
    raw_dir, expected, _ = mnist_files
    prepared_builder(SboMnist, tmp_path / "data", raw_dir, expected)
    check_properties(name, tasks.load(name, data_dir=tmp_path / "data"))


def test_the_entry_of_har_states_the_properties_of_the_task(har_task):
    check_properties("har2", har_task)


@pytest.fixture(scope="module")
def har_task(har_template, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("har_data")
    return har.load(Request(0, data_dir=data_dir, raw_dir=har_template[0]), HAR_EXPECTED)


def test_har_validation_is_whole_subjects(har_task, har_template):
    np.testing.assert_array_equal(har_task.test_groups, np.arange(12) % 2 + 1)
    [subject] = har_task.facts["validation_subjects"]
    held = har_template[1]["train"][np.arange(60) % 5 + 1 == subject]
    np.testing.assert_allclose(har_task.validation.inputs, held, rtol=1e-6)
    assert len(har_task.train) == 48


def test_har_classes_are_those_of_har_2(har_task):
    activities = np.repeat(range(6), 2)  # walking, up, down, sitting, standing, laying
    positive = np.isin(activities, [1, 3, 5])
    np.testing.assert_array_equal(har_task.test.fetch(np.arange(12))[1], positive)


def test_har_train_has_mean_zero_and_std_one_in_every_channel(har_task):
    inputs, _ = har_task.train.fetch(np.arange(len(har_task.train)))
    np.testing.assert_allclose(inputs.mean((0, 1)), np.zeros(9), atol=1e-4)
    np.testing.assert_allclose(inputs.std((0, 1)), np.ones(9), atol=1e-4)


# faulty original files


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rewrite(change, path):
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))


def flip_last(content):
    return content[:-1] + bytes((content[-1] ^ 1,))


MNIST_FAULTS = {
    "missing": ("train-labels", Path.unlink, "found no such file"),
    "truncated gzip": ("train-images", cut, "found one that cannot be read"),
    "no gzip": ("t10k-labels", lambda p: p.write_bytes(b"<html>"), "cannot be read"),
    "short content": (
        "t10k-images-idx3-ubyte.gz",
        functools.partial(rewrite, lambda c: c[:-9]),
        "bytes",
    ),
    "no IDX": (
        "t10k-images-idx3-ubyte.gz",
        functools.partial(rewrite, lambda c: c[4:]),
        "shape None",
    ),
    "empty": ("t10k-images", functools.partial(rewrite, lambda c: b""), "shape None"),
    "wrong pixel": (
        "train-images-idx3-ubyte.gz",
        functools.partial(rewrite, flip_last),
        "try the original",
    ),
    "wrong label": (
        "train-labels-idx1-ubyte.gz",
        functools.partial(rewrite, flip_last),
        "try the original",
    ),
}


@pytest.mark.parametrize("fault", MNIST_FAULTS)
def test_a_faulty_mnist_file_gives_one_sentence_and_leaves_nothing(fault, mnist_files, tmp_path):
    raw_dir, expected, _ = mnist_files
    file, damage, found = MNIST_FAULTS[fault]
    (path,) = (raw_dir / "mnist").glob(f"{file}*")
    original = path.read_bytes()
    damage(path)
    with pytest.raises(DataError, match=rf"^expected [^\n]*{file}[^\n]*{found}[^\n]*$"):
        prepared_builder(SboMnist, tmp_path / "data", raw_dir, expected)
    assert files_under(tmp_path / "data") == []
    path.write_bytes(original)
    builder = prepared_builder(SboMnist, tmp_path / "data", raw_dir, expected)
    assert len(read_split(builder, "train")["label"]) == 50


def test_wrong_label_counts_are_reported(mnist_files, tmp_path):
    raw_dir, expected, _ = mnist_files
    odd = raw_mnist.ExpectedSplit(expected.test.images, expected.test.labels, (10, 0))
    paths = raw_mnist.find(raw_dir)
    with pytest.raises(DataError, match=r"^expected label counts \(10, 0\) in .*found \(1, 1, 1"):
        raw_mnist.read(paths, raw_mnist.ExpectedMnist(expected.train, odd))


def rezipped(archive, change):
    """Replace members {name: bytes} by change(members)."""
    with zipfile.ZipFile(archive) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(archive, "w") as new:
        for name, content in change(members).items():
            new.writestr(name, content)


def with_member(name, change):
    """A change of one member; None removes it."""
    full = f"{raw_har.ROOT}/{name}"

    def apply(members):
        content = change(members.pop(full))
        return members if content is None else members | {full: content}

    return lambda archive: rezipped(archive, apply)


GYRO = "train/Inertial Signals/body_gyro_y_train.txt"
HAR_FAULTS = {
    "missing": (Path.unlink, "found neither"),
    "truncated zip": (cut, "found one that cannot be read"),
    "no zip": (lambda path: path.write_bytes(b"<html>"), "found one that cannot be read"),
    "empty zip": (lambda path: rezipped(path, lambda _: {}), "y_train.txt' in .*found none"),
    "missing member": (with_member(GYRO, lambda _: None), f"{GYRO}' in .*found none"),
    "cut member": (with_member(GYRO, lambda c: c[: len(c) // 2]), "body_gyro_y"),
    "missing rows": (with_member(GYRO, lambda c: c[: c.rindex(b"\n", 0, -1) + 1]), r"\(59, 128\)"),
    "empty member": (with_member(GYRO, lambda _: b""), "body_gyro_y"),
    "words": (with_member(GYRO, lambda c: b"x" + c), "body_gyro_y.*found otherwise"),
    "not finite": (with_member(GYRO, lambda c: b"nan" + c[16:]), "1 not finite"),
    "label counts": (with_member("test/y_test.txt", lambda c: b"2" + c[1:]), r"found \(1, 3, 2"),
    "subjects": (
        with_member("test/subject_test.txt", lambda c: b"9" + c[1:]),
        r"2 subjects .*and 3;",
    ),
}


@pytest.mark.parametrize("fault", HAR_FAULTS)
def test_a_faulty_har_archive_gives_one_sentence_and_leaves_nothing(fault, har_archive, tmp_path):
    damage, found = HAR_FAULTS[fault]
    damage(har_archive / "uci_har" / raw_har.ARCHIVE)
    with pytest.raises(DataError, match=rf"^expected [^\n]*{found}[^\n]*$"):
        prepared_builder(SboUciHar, tmp_path / "data", har_archive, HAR_EXPECTED)
    assert files_under(tmp_path / "data") == []


# downloads


@pytest.fixture
def server(tmp_path, monkeypatch):
    """(url, folder) of a web server on this machine."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "www").mkdir()
    handler = functools.partial(QuietHandler, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}/", tmp_path / "www"
        web.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def manager(folder, url, content):
    info = tfds.core.download.checksums.UrlInfo(
        size=len(content), checksum=hashlib.sha256(content).hexdigest(), filename="a.gz"
    )
    return tfds.download.DownloadManager(download_dir=folder, url_infos={url: info})


def test_a_download_of_the_registered_checksum_arrives(server, tmp_path):
    url, folder = server
    (folder / "a.gz").write_bytes(b"content")
    paths = fetch(manager(tmp_path / "dl", url + "a.gz", b"content"), {"a": url + "a.gz"})
    assert paths["a"].read_bytes() == b"content"


def test_a_download_of_another_checksum_is_refused(server, tmp_path):
    url, folder = server
    (folder / "a.gz").write_bytes(b"content")
    with pytest.raises(DataError, match=r"^expected the download .*checksum.*\(--raw-dir\)$"):
        fetch(manager(tmp_path / "dl", url + "a.gz", b"another"), {"a": url + "a.gz"})


def test_a_missing_download_is_reported(server, tmp_path):
    url = server[0] + "a.gz"
    with pytest.raises(DataError, match=r"^expected the download .*HTTPError.*\(--raw-dir\)$"):
        fetch(manager(tmp_path / "dl", url, b""), {"a": url})


@pytest.mark.parametrize("builder_class", [SboMnist, SboCifar10, SboUciHar, SboPtb])
def test_a_failing_download_fails_once_and_leaves_nothing(builder_class, tmp_path, monkeypatch):
    calls = []

    def no_network(url, **kwargs):
        calls.append(url)
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "get", no_network)
    with pytest.raises(DataError, match=r"^expected the download https.*ConnectionError.*raw-dir"):
        prepared_builder(builder_class, tmp_path, None)
    assert (len(calls), files_under(tmp_path)) == (1, [])


@pytest.mark.parametrize("builder_class", [SboMnist, SboCifar10, SboUciHar, SboPtb])
def test_every_download_has_a_registered_checksum(builder_class, tmp_path, monkeypatch):
    asked = []

    def keep(dl_manager, urls):
        asked.extend(urls.values())
        raise DataError("enough")

    monkeypatch.setattr("sbo_jax.tasks.builders.base.fetch", keep)
    with pytest.raises(DataError, match="enough"):
        prepared_builder(builder_class, tmp_path, None)
    assert asked
    assert all(len(builder_class.url_infos[url].checksum) == 64 for url in asked)


# the script, and the real files


def test_the_script_ends_a_fault_with_one_sentence_and_code_2(tmp_path):
    script, data_dir = ROOT / "scripts/prepare_data.py", tmp_path / "data"
    done = subprocess.run(
        [sys.executable, script, "har", "--raw-dir", tmp_path, "--data-dir", data_dir],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("prepare_data.py: expected 'UCI HAR Dataset.zip'")
    assert done.stderr.count("\n") == 1


@needs_real_files
def test_the_real_mnist_files_are_the_expected_ones():
    found = raw_mnist.read(raw_mnist.find(REAL), raw_mnist.ORIGINAL)
    assert [len(columns["label"]) for columns in found.values()] == [60_000, 10_000]


@needs_real_files
def test_the_real_har_files_are_the_expected_ones():
    found = raw_har.read(raw_har.find(REAL), raw_har.ORIGINAL)
    assert [len(columns["signals"]) for columns in found.values()] == [7352, 2947]
    assert not set(found["train"]["subject"]) & set(found["test"]["subject"])
    # total acceleration is that of the body and gravity: the phone feels about 1 g
    signals = found["train"]["signals"]
    gravity = signals[..., 6:] - signals[..., :3]
    np.testing.assert_allclose(np.linalg.norm(gravity.mean(1), axis=-1).mean(), 1, atol=0.03)
