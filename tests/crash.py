"""Kills a run's saves at every change of files, then loads, goes on and compares.

    python tests/crash.py 200     # points to try, drawn from all of them; 0: all

Needs Linux and a C compiler. A run is simulated: states and models are functions of the epoch, so
that one point takes a fraction of a second. `kill_and_resume.py` kills real runs, at random.
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

from sbo_jax.runs.folder.arrays import read
from sbo_jax.runs.folder.checkpoints import Checkpoint
from sbo_jax.runs.folder.published import newest_model
from sbo_jax.runs.folder.run_folder import RunFolder

EPOCHS = 4
NUMBERS = ("train_loss", "validation_loss", "validation", "eta_max")
METRICS = {"step": 1} | dict.fromkeys(NUMBERS, 0.5)
SOURCE = Path(__file__).with_name("kill_points.c")


def arrays(epoch):
    """The state after an epoch, and its best model: a better one every second epoch."""
    return (
        {"a": np.full((3, 2), float(epoch)), "b": np.arange(5) * epoch},
        {"a": np.full((3, 2), float(epoch // 2 * 2))},
    )


def run(path):
    """Go on from the newest checkpoint to the end."""
    with RunFolder(path, resume=True) as folder:
        folder.write_json("config.json", {"epochs": EPOCHS})
        found = folder.checkpoints.restore(*arrays(0))
        if found is None:
            folder.check_without_results()
            folder.checkpoints.save(Checkpoint(arrays(0)[0], None, {"epoch": 0}))
            folder.checkpoints.wait()
        first = found.record["epoch"] if found else 0
        folder.cut(first)
        for epoch in range(first + 1, EPOCHS + 1):
            folder.append_line("metrics.jsonl", METRICS | {"epoch": epoch})
            state, best = arrays(epoch)
            folder.checkpoints.save(Checkpoint(state, best, {"epoch": epoch}))
        folder.checkpoints.wait()
        folder.checkpoints.check_model(arrays(EPOCHS)[1])
        folder.write_json("summary.json", {"epochs": EPOCHS})


def model_in(path):
    """The epoch of the model, None where there is none; raises where it is not whole."""
    newest = newest_model(path)
    if newest is None:
        return None
    found, record = read(newest, {"best": keyed(arrays(0)[1])})
    assert all(
        np.array_equal(x, y)
        for x, y in zip(found["best"].values(), arrays(record["epoch"])[1].values(), strict=True)
    )
    return record["epoch"]


def keyed(tree):
    return {f"['{name}']": array for name, array in tree.items()}


def end_of(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(path)
    return (path / "metrics.jsonl").read_text(), (path / "summary.json").read_text(), model_in(path)


def in_a_process(action):
    """The exit code of a fork that does this."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def counted(library, path, report):
    library.arm(str(path).encode(), 0)
    run(path)
    report.write_text(str(library.points()))


def check_killed_at(library, root, point, expected):
    """The fault of this point, or None."""
    path = root / f"at-{point}"

    def killed():
        library.arm(str(path).encode(), point)
        run(path)

    def checked():
        before = model_in(path) if path.exists() else None
        lines = path / "metrics.jsonl"
        known = len(lines.read_text().splitlines()) if lines.exists() else 0
        assert before is not None or known <= 2, "a model was lost"
        assert before is None or before >= known - 2, "a model went before its successor stood"
        assert end_of(path) == expected

    code = in_a_process(killed)
    if code not in (0, 137):
        return f"point {point}: exit code {code}"
    return f"point {point}" if in_a_process(checked) else None


def main(wanted):
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        assert in_a_process(lambda: counted(library, root / "whole", root / "count")) == 0
        total = int((root / "count").read_text())
        whole = (
            (root / "whole/metrics.jsonl").read_text(),
            (root / "whole/summary.json").read_text(),
            EPOCHS,
        )
        every = np.arange(1, total + 1)
        chosen = np.random.default_rng().choice(every, wanted, replace=False) if wanted else every
        faults = [check_killed_at(library, root, int(point), whole) for point in chosen]
    print(json.dumps({"points": total, "tried": len(chosen), "faults": [f for f in faults if f]}))


def start(wanted, script=__file__):
    """A script once more, under the library that kills; what it found."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "kill_points.so")
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
        environment = os.environ | {"LD_PRELOAD": str(library), "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, script, str(wanted), "killed"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) | {"printed": done.stderr}


if __name__ == "__main__":
    if sys.argv[2:] == ["killed"]:
        main(int(sys.argv[1]))
    else:
        print(start(int(sys.argv[1])))
