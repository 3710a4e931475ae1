"""Several processes compute what one computes, stop together and fail together.

They are real processes that meet over loopback, each with one device.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import compiled
import numpy as np
import pytest

from sbo_jax.devices.processes import Processes, from_first, join, together
from sbo_jax.runs.train_command import run_command_line

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
ROOT = HERE.parent
# At a small rate rounding does not grow.
SIZES = "--task adding --length 6 --hidden 4 --layers 2 --batch-size 640 --upper-rate 1e-3"


def start(*command, count=None):
    """A command in `count` processes, or alone; what it says is kept."""
    launcher = [] if count is None else [ROOT / "scripts" / "launch_local.py", count]
    environment = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": compiled.XLA_FLAGS}
    return subprocess.Popen(
        [sys.executable, *map(str, (*launcher, *command))],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process):
    """Exit code and output."""
    try:
        said, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    return process.returncode, said


@pytest.fixture(scope="module")
def curves(tmp_path_factory):
    """What one process and two found, at the same fresh seed."""
    folder, seed = tmp_path_factory.mktemp("found"), int.from_bytes(os.urandom(3))
    found = []
    for count in (1, 2):
        out = folder / f"{count}.json"
        code, said = ended(
            start(HERE / "on_processes.py", "--out", out, "--seed", seed, count=count)
        )
        assert code == 0, f"seed {seed}: {said}"
        found.append(json.loads(out.read_text()))
    print(f"seed {seed}")
    return found


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
@pytest.mark.parametrize("task", ["adding", "digits"])
def test_two_processes_draw_the_loss_curve_of_one(curves, task, dtype, tolerance):
    alone, two = (found[f"{task} {dtype}"] for found in curves)
    assert [found["count"] for found in curves] == [1, 2]
    assert len(alone) == 100
    np.testing.assert_allclose(two, alone, rtol=0, atol=tolerance)


def test_two_processes_carry_a_text_on_as_one_does_over_a_stop(curves):
    alone, two = (found["text"] for found in curves)
    assert len(alone) == 33
    np.testing.assert_allclose(two, alone, rtol=0, atol=1e-4)


def test_every_bit_of_the_first_process_reaches_the_others(curves):
    expected = np.float32([-0.0, np.nan, 1e-42]).tobytes().hex()
    assert [(found["first"], found["bits"]) for found in curves] == [(0, expected)] * 2


def test_what_fails_in_one_process_fails_in_all(curves):
    alone, two = (found["error"] for found in curves)
    assert alone == "ValueError: no data here"
    assert two == "ElsewhereError: process 1: no data here"


def metrics(path):
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [list(json.loads(line).values()) for line in lines]


def test_two_processes_are_preempted_and_one_goes_on(tmp_path):
    command = (ROOT / "scripts" / "train.py", *SIZES.split(), "--epochs", 60, "--resume", "--out")
    preempted = start(*command, tmp_path / "run", count=2)
    deadline = time.monotonic() + 200
    while not (tmp_path / "run" / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    preempted.send_signal(signal.SIGTERM)
    code, said = ended(preempted)
    assert code == 128 + signal.SIGTERM, said
    reached = len(metrics(tmp_path / "run"))
    assert 1 <= reached < 60
    code, said = ended(start(*command, tmp_path / "run"))
    assert code == 0, said
    assert run_command_line([*map(str, command[1:]), str(tmp_path / "whole")]) == 0
    np.testing.assert_allclose(metrics(tmp_path / "run"), metrics(tmp_path / "whole"), rtol=1e-5)


@pytest.mark.parametrize("process_id", [0, 1])
def test_others_that_do_not_come_are_told_in_time(process_id):
    port = free_port()
    options = f"--coordinator 127.0.0.1:{port} --num-processes 2 --process-id {process_id}"
    code, said = ended(start(ROOT / "scripts" / "train.py", *options.split(), "--start-timeout", 2))
    assert code == 2
    assert f"expected 2 processes at 127.0.0.1:{port} within 2 s" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("processes", "words"),
    [
        (Processes(coordinator="here:1"), "all of --coordinator, --num-processes and --process-id"),
        (Processes(num_processes=2, process_id=0), "all of --coordinator"),
        (Processes(False, "here:1", 2, 2), "got 2 of 2"),
        (Processes(False, "here", 2, 1), "HOST:PORT, got 'here'"),
        (Processes(False, "here:1", 2, 1, start_timeout=0), "start-timeout"),
        (Processes(False, ":9876", 2, 1), "HOST:PORT"),
        (Processes(False, "127.0.0.1:99999", 2, 1), "ports end at 65535"),
        (Processes(False, "no.such.host.invalid:9876", 2, 1), "a host with an address"),
        (Processes(distributed=True), "found no cluster environment"),
    ],
)
def test_processes_that_cannot_meet_are_refused(processes, words):
    with pytest.raises(ValueError, match=words):
        join(processes)


def test_a_port_that_is_taken_is_refused():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"expected a free port for --coordinator, got {port}"):
            join(Processes(False, f"127.0.0.1:{port}", 2, 0))


def test_a_process_alone_meets_nobody():
    join(Processes())
    assert together(lambda: from_first("here")) == "here"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
