"""Kills what writes a prepared copy of a table at every change of files, then reads the table.

    python tests/crash_copies.py 200     # points to try, drawn from all of them; 0: all

Needs Linux and a C compiler.
"""

import ctypes
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from crash import in_a_process, start

from sbo_jax.tasks.own import description
from sbo_jax.tasks.own.prepared import reader

TOML = 'table = "steps.csv"\nsequence = "run"\nlabel = "kind"\n'


def write(folder, last):
    """A table of two sequences, whose last number is this one."""
    folder.mkdir(exist_ok=True)
    (folder / "dataset.toml").write_text(TOML)
    (folder / "steps.csv").write_text(f"run,kind,x\na,up,1\na,up,2\nb,down,3\nb,down,{last}\n")


def read(folder):
    """The last number, and what is said of the copy."""
    described = description.read(folder)
    table, sentence = reader.read(described, described.data)
    return float(table.inputs.values[-1, 0]), sentence


def replaced(folder, library, point):
    """Write a copy in the place of one of other content, and be killed at this point."""
    write(folder, 4)
    read(folder)
    write(folder, 5)
    library.arm(str(folder / ".sbo_jax").encode(), point)
    read(folder)


def checked(folder):
    assert read(folder)[0] == 5
    last, sentence = read(folder)
    assert last == 5
    assert sentence.startswith("Read from")
    left = {path.name for path in (folder / ".sbo_jax").iterdir()}
    assert len(left - {".gitignore", "CACHEDIR.TAG", ".lock"}) == 1, left


def counted(folder, library, report):
    replaced(folder, library, 0)
    report.write_text(str(library.points()))


def check_killed_at(library, root, point):
    """The fault of this point, or None."""
    folder = root / f"at-{point}"
    code = in_a_process(lambda: replaced(folder, library, point))
    if code not in (0, 137):
        return f"point {point}: exit code {code}"
    fault = f"point {point}" if in_a_process(lambda: checked(folder)) else None
    shutil.rmtree(folder)
    return fault


def main(wanted):
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    reader._FEWEST_BYTES = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        report = root / "count"
        assert in_a_process(lambda: counted(root / "whole", library, report)) == 0
        every = np.arange(1, int(report.read_text()) + 1)
        chosen = np.random.default_rng().choice(every, wanted, replace=False) if wanted else every
        faults = [check_killed_at(library, root, int(point)) for point in chosen]
    faults = [fault for fault in faults if fault]
    print(json.dumps({"points": len(every), "tried": len(chosen), "faults": faults}))


if __name__ == "__main__":
    if sys.argv[2:] == ["killed"]:
        main(int(sys.argv[1]))
    else:
        print(start(int(sys.argv[1]), __file__))
