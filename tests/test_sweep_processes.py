"""A sweep over several processes, which meet over loopback, is the sweep in one."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import sweep_on_processes
from test_processes import ROOT, ended, start

from sbo_jax.runs.sweep import SweepConfig, cell_reports, prepare_sweep, sweep

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


def test_four_processes_share_cells_that_do_not_divide_and_find_what_one_finds(tmp_path):
    seed = int.from_bytes(os.urandom(3))
    out, alone = tmp_path / "found.json", sweep_on_processes.found(sweep_on_processes.config(seed))
    options = ("--out", out, "--seed", seed, "--devices", 2)
    code, said = ended(start(HERE / "sweep_on_processes.py", *options, count=4))
    assert code == 0, f"seed {seed}: {said}"
    sizes, (epochs, states, steps) = json.loads(out.read_text())
    assert sizes == [2, 2, 2, 2]
    assert steps == alone.steps
    for ours, theirs in zip(epochs, alone.epochs, strict=True):
        for name, values in theirs.items():
            np.testing.assert_allclose(ours[name], values, rtol=1e-3, err_msg=f"seed {seed}")
    for ours, theirs in zip(states, alone.states, strict=True):
        # a gradient near zero may change its sign, which to Adam is a whole step
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=5e-3, err_msg=f"seed {seed}")


def test_two_processes_are_preempted_and_one_goes_on(tmp_path):
    seed = int.from_bytes(os.urandom(3))
    options = sweep_on_processes.SIZES | {"epochs": 100}
    words = [word for name in options for word in (f"--{name.replace('_', '-')}", options[name])]
    grid = ("--etas", 0.1, 1e6, 0.3, "--mus", 0.5, "--seeds", seed)
    command = (ROOT / "scripts" / "sweep_eta.py", *words, *grid, "--resume", "--out", tmp_path)
    preempted = start(*command, count=2)
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob("checkpoints/[1-9]*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    preempted.send_signal(signal.SIGTERM)
    code, said = ended(preempted)
    assert code == 128 + signal.SIGTERM, said
    reached = curves(tmp_path)
    assert 1 <= len(reached[0]) < 100
    code, said = ended(start(*command))
    assert code == 0, said
    config = SweepConfig.of(**options, etas=(0.1, 1e6, 0.3), mus=(0.5,), seeds=(seed,))
    for ours, theirs in zip(curves(tmp_path), whole(config), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, err_msg=f"seed {seed}")


def curves(folder):
    lines = (folder / "cells.jsonl").read_text().splitlines()
    return [[list(epoch.values()) for epoch in json.loads(line)["curve"]] for line in lines]


def whole(config):
    prepared = prepare_sweep(config)
    cells = cell_reports(prepared, list(sweep(prepared)))
    return [[list(epoch.values()) for epoch in cell["curve"]] for cell in cells]
