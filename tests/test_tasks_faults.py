"""Whatever a reader meets in a damaged or odd file is one DataError with its path."""

import io
import re
import zipfile

import numpy as np
import pytest

from sbo_jax import tasks
from sbo_jax.tasks import registry
from sbo_jax.tasks._types import DataError
from sbo_jax.tasks.faults import reading

FAULTS = [RecursionError("too deep"), MemoryError(), RuntimeError("two\nlines"), KeyError("key")]
FAULTS += [UnicodeDecodeError("utf-8", b"x", 0, 1, "no"), OSError(5, "Input/output error")]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_any_fault_of_a_reader_is_one_sentence(fault):
    sentence = r"^expected x \([^\n]+\); try y$"
    with pytest.raises(DataError, match=sentence) as error, reading("expected x", "try y"):
        raise fault
    assert error.value.__cause__ is fault


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_who_stops_a_reader_is_no_fault(stop):
    with pytest.raises(stop), reading("expected x"):
        raise stop


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_fault_of_any_task_is_one_sentence_with_the_paths_that_were_given(fault, monkeypatch):
    def load(request):
        raise fault

    entry = registry.TASKS["har2"]
    monkeypatch.setattr(registry, "TASKS", {"har2": registry.Entry(load), "digits": entry})
    with pytest.raises(DataError, match=r"^expected data for the task har2, raw_dir /no/x, got.*;"):
        tasks.load("har2", raw_dir="/no/x")


def header(text):
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def encrypted(content):
    """The archive with the flag of encryption set in every entry."""
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(mark, content):
            at = found.start() + place
            content = content[:at] + b"\x01" + content[at + 1 :]
    return content


def unknown_compression(content):
    for mark, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        for found in re.finditer(mark, content):
            at = found.start() + place
            content = content[:at] + b"\x63" + content[at + 1 :]
    return content


def zipped(name, content):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, content)
    return stream.getvalue()


SHAPE = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }\n"
ARRAYS = {
    "absurd shape": lambda c: zipped("x.npy", header(SHAPE % ("10" * 8 + ","))),
    "negative shape": lambda c: zipped("x.npy", header(SHAPE % "-5, 3, 1")),
    "overflowing shape": lambda c: zipped("x.npy", header(SHAPE % f"{2**62}, 3, 1")),
    "nested header": lambda c: zipped("x.npy", header("(" * 5000)),
    "no header": lambda c: zipped("x.npy", header("1 +")),
    "no dictionary": lambda c: zipped("x.npy", header("[1]\n")),
    "odd type": lambda c: zipped("x.npy", header(SHAPE.replace("<f4", "<Q9") % "1,")),
    "encrypted": encrypted,
    "unknown compression": unknown_compression,
}


@pytest.mark.parametrize("fault", ARRAYS)
def test_an_odd_array_file_is_reported_with_its_path(fault, tmp_path):
    path = tmp_path / "all.npz"
    np.savez(path, x=np.zeros((4, 3, 1)), y=np.arange(4))
    path.write_bytes(ARRAYS[fault](path.read_bytes()))
    np.save(tmp_path / "y.npy", np.arange(4))
    (tmp_path / "dataset.toml").write_text('inputs = "all.npz:x"\nlabels = "y.npy"')
    with pytest.raises(DataError, match=rf"^{path}: expected arrays[^\n]*$"):
        tasks.load("folder", folder=tmp_path)


DESCRIPTIONS = {
    "nested lists": "inputs = " + "[" * 5000,
    "nested tables": "inputs = " + "{a = " * 5000,
    "nested names": "[" + ".".join("a" * 3000) + "]",
    "huge integer": "header_lines = " + "9" * 5000,
    "not UTF-8": "inputs = '\udcff'",
    "a date": "inputs = 1979-05-27",
}


@pytest.mark.parametrize("fault", DESCRIPTIONS)
def test_an_odd_description_is_reported_with_its_path(fault, tmp_path):
    path = tmp_path / "dataset.toml"
    path.write_text(DESCRIPTIONS[fault], encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DataError, match=rf"^{path}: [^\n]*$"):
        tasks.load("folder", folder=tmp_path)


@pytest.mark.parametrize("folder", ["~nobody-of-this-name/x", "a\0b", "x" * 300, "/dev/null"])
def test_a_place_that_cannot_be_is_reported(folder):
    with pytest.raises(DataError, match=r"^[^\n]*$"):
        tasks.load("folder", folder=folder)
