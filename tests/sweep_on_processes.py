"""Run as one of several processes: the first one writes what test_sweep_processes.py looks at."""

import json
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import tyro

from sbo_jax.devices.processes import Processes, from_all, is_first, join
from sbo_jax.runs.sweep import SweepConfig, prepare_sweep, sweep

# At a small rate rounding does not grow.
SIZES = {"task": "adding", "length": 6, "hidden": 4, "batch_size": 1280, "upper_rate": 1e-3}
COLUMNS = ("train_loss", "validation_loss", "validation", "diverged_step")


class Found(NamedTuple):
    """Columns of every epoch, the states after them, and the steps that `on_step` heard of."""

    epochs: list[dict[str, list[float]]]
    states: list[np.ndarray]
    steps: list[int]


def found(config: SweepConfig) -> Found:
    steps = []
    epochs = list(sweep(prepare_sweep(config), lambda step, _: steps.append(step)))
    columns = [{name: getattr(epoch, name).tolist() for name in COLUMNS} for epoch in epochs]
    return Found(columns, jax.tree.leaves(jax.device_get(epochs[-1].states())), steps)


def config(seed: int) -> SweepConfig:
    """Five cells, two of which diverge: no number of processes but one can share them evenly."""
    etas = (0.1, 0.2, 1e6, 0.3, 1e7)
    return SweepConfig.of(**SIZES, epochs=2, etas=etas, mus=(0.5,), seeds=(seed,))


def main(out: Path, seed: int, devices: int, processes: Processes) -> None:
    jax.config.update("jax_num_cpu_devices", devices)
    join(processes)
    here = found(config(seed))
    sizes = from_all(jax.local_device_count())
    if is_first():
        states = [leaf.tolist() for leaf in here.states]
        out.write_text(json.dumps([sizes, here._replace(states=states)]))


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
