"""`benchmark.py stream`: one time step after another, as they arrive, beside torch's LSTMCell.

A push takes 9 raw numbers of one time step and gives the name of one of 6 classes; all contenders
scale and name alike. A step is what there is without that: float32 in, outputs in NumPy out. Beside
every time is that of the processor in it, which other work on the machine raises less.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from .._checks import check_counts
from ..devices.environment import environment
from ..devices.failures import in_one_sentence
from ..disk.text import JsonLines
from ..nn.single_step import SingleStep
from ..runs.build import build_model
from ..runs.config import TrainConfig
from ..tasks.sources.scaling import Scaler
from ..trained import TrainedRun
from .contenders import CLASSES, IN_FEATURES
from .timing import check_seconds, medians
from .torch_peers import torch_lstm_step

# Options of train.py.
OPTIONS: dict[str, dict[str, Any]] = {
    "sbo stable": {"preset": "stable"},
    "sbo low_rank nesterov": {"operator": "low_rank", "solver": "nesterov"},
    "sbo paper": {"preset": "paper"},
    "flax OptimizedLSTMCell": {"model": "lstm"},
}

LSTM_CELL = "torch LSTMCell"
_FACTS = {"mean": [0.1] * IN_FEATURES, "std": [1.1] * IN_FEATURES}
_NAMES = ["walk", "up", "down", "sit", "stand", "lie"]

Row = dict[str, Any]


@dataclass(frozen=True)
class StreamConfig:
    """Time live streams of one sequence; on one core with `taskset -c 0` in front."""

    hidden: tuple[int, ...] = (128,)
    """hidden units"""
    pushes: int = 500
    """time steps that are timed together"""
    seconds: float = 30.0
    """time to spend per number of units"""
    out: Path | None = None
    """JSON lines: the environment, then one line per number of units and name"""


class Streaming(NamedTuple):
    """What happens for every time step, with and without scaling and naming; blocks until done.

    Args:
      push: of raw features [9] to the name of a class.
      step: of scaled ones [1, 9] to outputs [1, 6] in NumPy.
    """

    push: Callable[[np.ndarray], Any]
    step: Callable[[np.ndarray], Any]


@in_one_sentence("benchmark.py")
def benchmark_stream(config: StreamConfig) -> int:
    """Measure, print tables, write lines; exit code 0, or 2 for bad input."""
    for hidden in config.hidden:
        check_counts(hidden=hidden)
    check_counts(pushes=config.pushes)
    check_seconds(config.seconds)
    out = JsonLines(config.out)
    lines: list[Row] = [environment() | {"cores": _cores()}]
    print(json.dumps(lines[0]))
    with out:
        for hidden in config.hidden:
            rows = list(measure(hidden, config.pushes, config.seconds))
            lines += rows
            print(f"\n{hidden} hidden units, cores: {_cores()}\n{table(rows)}", flush=True)
            out.write(lines)
    return 0


def streamings(hidden: int) -> dict[str, Streaming]:
    """All that are compared, untrained: times do not depend on the weights."""
    ours = {name: _ours(hidden, options) for name, options in OPTIONS.items()}
    step = torch_lstm_step(hidden)
    return ours if step is None else ours | {LSTM_CELL: _torchs(step)}


def measure(hidden: int, pushes: int, seconds: float) -> Iterator[Row]:
    """One row per contender, in microseconds for a time step."""
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(pushes, IN_FEATURES))
    scaled = raw[:, None].astype(np.float32)

    timed: dict[str, _Timed] = {}
    for name, streaming in streamings(hidden).items():
        timed[f"push {name}"] = _Timed(streaming.push, raw)
        timed[f"step {name}"] = _Timed(streaming.step, scaled)
    times = medians(timed, seconds=seconds, max_rounds=100)
    for key in timed:
        what, _, name = key.partition(" ")
        if what == "push":
            yield {
                "hidden": hidden,
                "name": name,
                "pushes_per_second": pushes / times[key],
                "push_us": 1e6 * times[key] / pushes,
                "push_cpu_us": 1e6 * median(timed[key].counted) / pushes,
                "step_us": 1e6 * times[f"step {name}"] / pushes,
                "step_cpu_us": 1e6 * median(timed[f"step {name}"].counted) / pushes,
            }


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown, with ratios of processor time to torch's LSTMCell."""
    torch = next((row for row in rows if row["name"] == LSTM_CELL), None)
    columns = ["", "pushes a second"]
    for what in ("push", "step"):
        columns += [f"{what} us", "of processor", "/ torch"]
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for row in rows:
        cells = [row["name"], f"{row['pushes_per_second']:,.0f}"]
        for what in ("push", "step"):
            processor = row[f"{what}_cpu_us"]
            ratio = f"{processor / torch[f'{what}_cpu_us']:.2f}" if torch else ""
            cells += [f"{row[f'{what}_us']:.0f}", f"{processor:.0f}", ratio]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


class _Timed:
    """Calls for one time step after another, and the seconds of the processor in each run."""

    def __init__(self, call: Callable[[np.ndarray], Any], steps: np.ndarray):
        self._call, self._steps = call, steps
        self.processor: list[float] = []

    @property
    def counted(self) -> list[float]:
        """Of the runs that `medians` counts: the second of every round but the first."""
        return self.processor[3::2]

    def __call__(self) -> None:
        start = time.process_time()
        for x in self._steps:
            self._call(x)
        self.processor.append(time.process_time() - start)


def _ours(hidden: int, options: dict[str, Any]) -> Streaming:
    shape: dict[str, Any] = {
        "in_features": IN_FEATURES,
        "out_features": CLASSES,
        "metric": "accuracy",
    }
    model = build_model(TrainConfig.of(hidden=hidden, **options), **shape)
    facts = _FACTS | {"classes": _NAMES}
    stream = TrainedRun(model, {"model": shape | {"length": 1}, "task": facts}).stream()
    single = SingleStep(model, 1, IN_FEATURES)
    carry = single.initial_carry

    def step(x: np.ndarray) -> np.ndarray:
        nonlocal carry
        carry, outputs = single(carry, x)
        return np.asarray(outputs)

    return Streaming(stream.push, step)


def _torchs(step: Callable[[np.ndarray], np.ndarray]) -> Streaming:
    scaler = Scaler(np.array(_FACTS["mean"]), np.array(_FACTS["std"]))
    return Streaming(lambda x: _NAMES[step(scaler(x[None])).argmax()], step)


def _cores() -> int:
    """Those that this process may use."""
    known = getattr(os, "sched_getaffinity", None)  # on Linux alone
    return len(known(0)) if known else os.cpu_count() or 1
