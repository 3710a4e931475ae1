"""`benchmark.py relaxations`: relaxed and true accuracy against lambda, and memory against T.

Trains on digits in this process. Memory is that of one training step's temporary buffers, according
to the compiler.
"""

import itertools
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .. import plots
from ..devices.environment import environment
from ..devices.failures import in_one_sentence
from ..disk.text import JsonLines
from ..runs.build import build_model
from ..runs.config import TrainConfig, check
from ..runs.folder.run_folder import RunFolder
from ..runs.methods import method
from ..runs.preparation import prepare
from ..runs.run import train
from ..tasks._types import Batch, Recipe
from ..training.objectives import ACCURACY
from ..training.step import init_state

Row = dict[str, Any]
_BCD_CELL: dict[str, Any] = {
    "model": "sbo",
    "energy": "transition",
    "activation": "relu",
    "solver": "sgd",
    "operator": "dense",
    "eta": 1.0,
}


@dataclass(frozen=True)
class RelaxationsConfig:
    """Measure training with free hidden states; lines to --out, a figure beside it."""

    penalties: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
    """constant lambdas; one more run per method lets lambda grow"""
    lengths: tuple[int, ...] = (64, 256, 1024, 4096)
    """time steps for the memory"""
    hidden: int = 32
    """units of the vanilla tanh network, and of the vanilla ReLU network of bcd"""
    epochs: int = 20
    """of every run"""
    seeds: tuple[int, ...] = (0,)
    """of the parameters and the order of batches"""
    out: Path | None = None
    """JSON lines; the figure gets the suffix .png"""


@in_one_sentence("benchmark.py")
def benchmark_relaxations(config: RelaxationsConfig) -> int:
    """Measure, print, write lines and figure; exit code 0, or 2 for bad input."""
    runs = list(_runs(config))
    for run in runs:
        check(run)
    out = JsonLines(config.out)
    lines: list[Row] = [environment()]
    with out:
        for row in itertools.chain(map(_accuracy, runs), _memory(config)):
            lines.append(row)
            print(json.dumps(row), flush=True)
            out.write(lines)
    if out.path:
        plots.relaxations(lines[1:]).savefig(out.path.with_suffix(".png"), dpi=120)
    return 0


def _runs(config: RelaxationsConfig) -> Iterator[TrainConfig]:
    for seed in config.seeds:
        own = {"hidden": config.hidden, "epochs": config.epochs, "seed": seed}
        base = TrainConfig.of(model="rnn", **own)
        yield base
        for penalty in config.penalties:
            yield base.changed(training="penalty", penalty=penalty, penalty_growth=1.0)
            yield base.changed(training="lagrangian", penalty=penalty, penalty_growth=1.0)
        for training in ("penalty", "lagrangian"):
            yield base.changed(training=training)
        relu = base.changed(**_BCD_CELL)
        yield relu
        yield relu.changed(training="bcd")
        yield relu.changed(training="bcd", proximity=30.0)


def _accuracy(config: TrainConfig) -> Row:
    with tempfile.TemporaryDirectory() as path, RunFolder(Path(path, "run")) as folder:
        summary = train(prepare(config), folder)
        metrics = folder.path / "metrics.jsonl"
        epochs = metrics.read_text().splitlines() if metrics.exists() else []
    last = json.loads(epochs[-1]) if epochs else {}
    names = ("true_metric", "relaxed_metric", "residual_mean", "residual_max", "train_loss")
    row: Row = {"kind": "accuracy", "model": _cell_name(config), "training": config.method.training}
    row |= {
        name: getattr(config.method, name) for name in ("penalty", "penalty_growth", "proximity")
    }
    row |= {"seed": config.run.seed}
    row |= {"validation": summary["best_validation"], "test": summary["test"]}
    row |= {"stopped": summary.get("stopped"), "seconds": summary["seconds"]}
    return row | {name: last.get(name) for name in names}


def _cell_name(config: TrainConfig) -> str:
    return "tanh" if config.layer.model == "rnn" else "relu"


def _memory(config: RelaxationsConfig) -> Iterator[Row]:
    """Memory with an SGD lower level, a dense operator and batches of 64."""
    base = TrainConfig.of(solver="sgd", operator="dense", eta=0.1, hidden=config.hidden)
    methods: dict[str, TrainConfig] = {
        "bptt": base,
        "bptt, rematerialised": base,
        "penalty": base.changed(training="penalty"),
        "lagrangian": base.changed(training="lagrangian"),
        "bcd": base.changed(training="bcd", **_BCD_CELL),
    }
    for length in config.lengths:
        for name, run in methods.items():
            chunk = int(length**0.5) if name == "bptt, rematerialised" else None
            mib = _temporary_mib(run.changed(remat_chunk=chunk), length)
            yield {"kind": "memory", "training": name, "length": length, "temp_mib": mib}


def _temporary_mib(config: TrainConfig, length: int) -> float:
    model = build_model(config, in_features=1, out_features=10, metric="accuracy", length=length)
    trained_by = method(config, ACCURACY, model, Recipe(1, 64, 1e-2), 100)
    graphdef, state = init_state(model, trained_by)
    inputs = np.zeros((64, length, 1), np.float32)
    batch = Batch(inputs, np.zeros(64, np.int32), np.ones(64, np.float32))
    lowered = jax.jit(partial(trained_by.step, ACCURACY, graphdef)).lower(state, batch)
    compiled: Any = lowered.compile()
    return compiled.memory_analysis().temp_size_in_bytes / 2**20
