"""A sweep over several processes, which meet over loopback, is the sweep in one."""

import json
import os
from pathlib import Path

import numpy as np
import sweep_on_processes
from test_processes import ended, start

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
            np.testing.assert_allclose(ours[name], values, rtol=1e-4, err_msg=f"seed {seed}")
    for ours, theirs in zip(states, alone.states, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4, err_msg=f"seed {seed}")
