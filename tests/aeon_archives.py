"""Compare every data set that aeon ships as read by aeon and by the task `folder`, bit for bit.

aeon holds NumPy back, so it lives in an environment of its own:

    python3 -m venv /tmp/aeon && /tmp/aeon/bin/pip install aeon==1.6.0
    .venv/bin/python tests/aeon_archives.py /tmp/aeon/bin/python
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from sbo_jax.tasks.own.archives import reader
from sbo_jax.tasks.own.description import Archive
from sbo_jax.tasks.own.gaps import Gaps

# writes an .npz file per file of an archive: sequences x0, x1, ... [d, T], and labels y
IN_AEON = """
import pathlib, sys
import aeon.datasets as datasets
import numpy as np

readers = {".ts": datasets.load_from_ts_file, ".arff": datasets.load_from_arff_file}
out = pathlib.Path(sys.argv[1])
for path in pathlib.Path(datasets.__file__).parent.glob("data/*/*_T*.*"):
    if path.suffix in readers and "TimeStamps" not in path.name:
        inputs, labels = readers[path.suffix](str(path))
        arrays = {f"x{i}": sequence for i, sequence in enumerate(inputs)}
        np.savez(out / f"{path.name}.npz", y=labels, path=str(path), **arrays)
"""


def sets_of_aeon(python, folder):
    """(path, sequences, labels) of every file that aeon reads."""
    subprocess.run([python, "-c", IN_AEON, folder], check=True)
    for file in sorted(Path(folder).glob("*.npz")):
        with np.load(file) as content:
            sequences = [content[f"x{i}"] for i in range(len(content) - 2)]
            yield Path(str(content["path"])), sequences, content["y"]


def table(path):
    """The table whose train and test files are both this one."""
    name = path.stem.rpartition("_")[0]
    with tempfile.TemporaryDirectory() as folder:
        for each in ("TRAIN", "TEST"):
            shutil.copy(path, f"{folder}/{name}_{each}{path.suffix}")
        archive = Archive(name + path.suffix)
        is_regression = "targetlabel true" in path.read_text().lower()
        return reader.read(Path(folder), archive, "mse" if is_regression else "accuracy", Gaps())


def is_equal(found, sequences, labels):
    both = range(2 * len(sequences))
    as_aeon = [name.lower() if isinstance(name, str) else name for name in found.labels.tolist()]
    return (
        len(found.inputs) == len(both)
        and all(
            np.array_equal(
                found.inputs[i].view(np.int64),
                sequences[i % len(sequences)].T.copy().view(np.int64),
            )
            for i in both
        )
        and as_aeon == np.tile(labels, 2).astype(type(as_aeon[0])).tolist()
    )


def main(python):
    differ = 0
    with tempfile.TemporaryDirectory() as folder:
        for path, sequences, labels in sets_of_aeon(python, folder):
            equal = is_equal(table(path), sequences, np.char.lower(labels.astype(str)))
            differ += not equal
            print("equal" if equal else "DIFFERS", len(sequences), path.name)
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
