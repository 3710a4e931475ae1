"""One device for every core that a process may use, and a batch that they share evenly."""

import json
import os
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path
from unittest.mock import Mock

import jax
import numpy as np
import pytest

from sbo_jax.devices import waiting
from sbo_jax.devices.cores import usable_cores
from sbo_jax.devices.mesh import SAMPLES_PER_CORE, as_text, make_mesh, mesh_for_batch, parse_mesh
from sbo_jax.devices.waiting import wait_for

TRAIN = Path(__file__).parents[1] / "scripts/train.py"
SMALL = ["--task", "adding", "--length", "4", "--hidden", "4", "--epochs", "2"]
SMALL += ["--batch-size", "64"]


def in_process(code, **environment):
    """What a new process prints; None removes a variable of the environment."""
    changed = {k: v for k, v in (os.environ | environment).items() if v is not None}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=changed, capture_output=True, text=True, check=True).stdout


def train(*options, devices=None):
    """A run of the script that is told of nothing but its options."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_NUM_CPU_DEVICES"}
    environment |= {"LOKY_MAX_CPU_COUNT": f"{devices}"} if devices else {}
    command = [sys.executable, TRAIN, *SMALL, *map(str, options)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result


COUNT = """
import jax
from sbo_jax.devices import use_all_cores
import sbo_jax
use_all_cores()
print(jax.device_count("cpu"))
"""


def test_every_usable_core_is_a_device_and_no_other():
    """The affinity is that of a container with one core, the limit that of a user."""
    one = min(os.sched_getaffinity(0))
    assert int(in_process(COUNT, JAX_NUM_CPU_DEVICES=None, JAX_PLATFORMS="cpu")) == usable_cores()
    alone = f"import os; os.sched_setaffinity(0, [{one}])\n{COUNT}"
    assert int(in_process(alone, JAX_NUM_CPU_DEVICES=None, JAX_PLATFORMS="cpu")) == 1


def test_a_number_that_the_user_chose_stays():
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=3"
    for chosen in ({"JAX_NUM_CPU_DEVICES": "3"}, {"XLA_FLAGS": flags, "JAX_NUM_CPU_DEVICES": None}):
        assert int(in_process(COUNT, JAX_PLATFORMS="cpu", **chosen)) == 3


@pytest.mark.parametrize("script", ["train.py", "sweep_eta.py"])
@pytest.mark.parametrize(
    ("name", "value"), [("JAX_NUM_CPU_DEVICES", "0"), ("LOKY_MAX_CPU_COUNT", "some")]
)
def test_a_number_that_cannot_be_is_refused_in_one_sentence(script, name, value):
    environment = {k: v for k, v in os.environ.items() if k != "JAX_NUM_CPU_DEVICES"}
    command = [sys.executable, TRAIN.with_name(script), "--help"]
    result = subprocess.run(
        command, env=environment | {name: value}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert re.fullmatch(rf"{script}: expected {name} .*\n", result.stderr)


def test_importing_the_library_changes_nothing():
    code = "import jax, sbo_jax; print(jax.config.jax_num_cpu_devices)"
    assert int(in_process(code, JAX_NUM_CPU_DEVICES=None)) == -1


def test_called_too_late_it_says_so():
    code = "import jax; jax.devices()\nfrom sbo_jax.devices import use_all_cores\n"
    code += "try: use_all_cores()\nexcept RuntimeError as error: print(error)"
    assert "before" in in_process(code, JAX_NUM_CPU_DEVICES=None)


def fakes(count, processes=1, platform="cpu"):
    return [
        Mock(spec=jax.Device, process_index=index // (count // processes), platform=platform)
        for index in range(count)
    ]


def test_a_batch_goes_to_as_many_cores_as_share_it_evenly(rng):
    for _ in range(50):
        batch, cores = int(rng.integers(1, 600)), int(rng.integers(1, 70))
        chosen = mesh_for_batch(batch, fakes(cores)).shape["data"]
        allowed = [n for n in range(1, cores + 1) if batch % n == 0 and batch / n >= 16]
        assert SAMPLES_PER_CORE == 16
        assert chosen == max(allowed, default=1), (batch, cores)


def test_every_process_has_the_same_number_of_devices():
    mesh = mesh_for_batch(96, fakes(16, processes=2))
    own = [device.process_index for device in mesh.devices.flat]
    assert own == [0, 0, 0, 1, 1, 1]
    few = mesh_for_batch(2, fakes(16, processes=2))
    assert [device.process_index for device in few.devices.flat] == [0, 1]


def test_accelerators_are_all_used():
    assert mesh_for_batch(7, fakes(4, platform="tpu")).shape["data"] == 4


def test_the_text_of_a_mesh_is_read_back():
    device = jax.devices()[0]
    for sizes in ((1, 1), (1, 3), (2, 1), (2, 3)):
        mesh = make_mesh(sweep=sizes[0], data=sizes[1], devices=[device] * 6)
        assert parse_mesh(as_text(mesh), [device] * 6).shape == mesh.shape


def test_train_uses_all_cores_and_goes_on_with_as_many(tmp_path):
    """Bit for bit, though the machine that it goes on with has more of them."""
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    train("--out", straight, devices=2)
    config = json.loads((straight / "config.json").read_text())
    assert config["config"]["mesh"] == "data=2"
    assert json.loads((straight / "summary.json").read_text())["device"].startswith("2 x ")
    train("--out", stopped, "--profile", "1:2", devices=2)
    lines = (stopped / "metrics.jsonl").read_text()
    assert lines == (straight / "metrics.jsonl").read_text()
    again = train("--out", stopped, "--resume", devices=4)
    assert "goes on" not in again.stderr
    assert json.loads((stopped / "config.json").read_text())["config"]["mesh"] == "data=2"
    one = tmp_path / "one"
    train("--out", one, "--mesh", "data=1", devices=2)
    losses = [
        [
            json.loads(line)["train_loss"]
            for line in (folder / "metrics.jsonl").read_text().splitlines()
        ]
        for folder in (straight, one)
    ]
    assert losses[0] != losses[1]  # the order of sums
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_devices_that_do_not_answer_are_reported(monkeypatch):
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(jax, "block_until_ready", lambda tree: time.sleep(0.3) or tree)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert wait_for("training steps 17 to 32", 5) == 5
    assert len(said) == 1
    assert "training steps 17 to 32: no answer" in str(said[0].message)


def test_devices_that_answer_are_not(monkeypatch):
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 0.2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        wait_for("a step", jax.numpy.ones(2))
        time.sleep(0.4)
    assert not said
