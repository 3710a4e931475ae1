"""`benchmark.py choices`: is the automatic choice of `Unrolled` the fastest one?

Times are measured side by side in this process. Peak memory is measured in a process of its own for
every choice, since a peak never falls, and listed beside the compiler's figure.
"""

import json
import math
import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from ..devices.allocator import keep_freed_memory
from ..devices.environment import environment
from ..devices.failures import in_one_sentence
from ..disk.text import JsonLines
from ..rollouts.reading import Rollout
from ..rollouts.unrolled import Unrolled, default_chunk
from .contenders import GRID, OPERATORS, SOLVERS, Shape, sbo
from .timing import check_seconds, medians

SLOWER = 1.05

Row = dict[str, Any]


@dataclass(frozen=True)
class ChoicesConfig:
    """Time every way to unroll; exit code 1 if the automatic choice is slower than another.

    Where it recomputes states, it saves memory as well, and may be slower.
    """

    shapes: tuple[str, ...] = GRID
    """time steps, samples, hidden units: T,B,D"""
    operators: tuple[str, ...] = tuple(OPERATORS)
    """of the recurrent map"""
    solvers: tuple[str, ...] = ("sgd", "nesterov")
    """of the lower level"""
    seconds: float = 10.0
    """time to spend on each shape, operator and solver"""
    peaks: bool = True
    """start a process for every choice and measure its peak memory"""
    out: Path | None = None
    """JSON lines: the environment, then one line per choice"""

    def cells(self) -> list[tuple[Shape, str, str]]:
        """ValueError for a shape, operator or solver that does not exist."""
        for asked, known in ((self.operators, OPERATORS), (self.solvers, SOLVERS)):
            if not asked:
                raise ValueError(f"expected names among {', '.join(known)}, got none")
            for name in asked:
                if name not in known:
                    raise ValueError(f"expected names among {', '.join(known)}, got {name!r}")
        shapes = [Shape.parse(text) for text in self.shapes]
        return [(s, o, v) for s in shapes for o in self.operators for v in self.solvers]


@in_one_sentence("benchmark.py")
def benchmark_choices(config: ChoicesConfig) -> int:
    """Measure, print, write lines; exit code 0, 1 for a slow automatic choice, 2 for bad input."""
    cells = config.cells()
    check_seconds(config.seconds)
    out = JsonLines(config.out)
    lines: list[Row] = [environment()]
    print(json.dumps(lines[0]))
    print("\n| (T, B, D) | operator, solver | choice | train ms | / best | temp MiB | peak MiB |")
    print("| --- " * 7 + "|")
    too_slow = []
    with out:
        for cell in cells:
            for row in measure(*cell, config.seconds, config.peaks):
                lines.append(row)
                print(_line(row), flush=True)
                if row["automatic"] and not row["saves_memory"] and row["over_best"] > SLOWER:
                    too_slow.append(row)
            out.write(lines)
    for row in too_slow:
        print(f"slower than {SLOWER} x the best: {_line(row)}", file=sys.stderr)
    return 1 if too_slow else 0


def rollouts(num_steps: int) -> dict[str, Rollout]:
    """The explicit choices: states to keep, and steps per iteration of the compiled loop."""
    root = math.isqrt(num_steps)
    chunks = [chunk for chunk in (root, 4 * root) if chunk < num_steps]
    return {
        "keep all": Unrolled(remat_chunk=num_steps),
        **{f"chunks of {chunk}": Unrolled(remat_chunk=chunk) for chunk in chunks},
        "keep all, scan_unroll 4": Unrolled(remat_chunk=num_steps, scan_unroll=4),
    }


def measure(shape: Shape, operator: str, solver: str, seconds: float, peaks: bool) -> Iterator[Row]:
    """One row per explicit choice; one of them is the program of the automatic choice."""
    contenders = {name: sbo(operator, solver, r)(shape) for name, r in rollouts(shape.T).items()}
    times = medians({name: c.train for name, c in contenders.items()}, seconds=seconds)
    automatic = _automatic(shape)
    for name, contender in contenders.items():
        yield {
            "shape": str(shape),
            "operator": operator,
            "solver": solver,
            "choice": name,
            "automatic": name == automatic,
            "saves_memory": automatic != "keep all",
            "train_ms": 1e3 * times[name],
            "over_best": times[name] / min(times.values()),
            "temp_mib": contender.temp_mib,
            "peak_mib": _peak_in_own_process(shape, operator, solver, name) if peaks else None,
        }


def _automatic(shape: Shape) -> str:
    """The name of the choice that `Unrolled()` makes."""
    h = jax.ShapeDtypeStruct((shape.B, shape.D), jnp.float32)
    chunk = default_chunk(shape.T, h)
    return next(
        name
        for name, rollout in rollouts(shape.T).items()
        if rollout == Unrolled(remat_chunk=chunk or shape.T)
    )


def _peak_in_own_process(shape: Shape, operator: str, solver: str, choice: str) -> float | None:
    """MiB by which a training step raises the peak of its process; None except on Linux."""
    if sys.platform != "linux":
        return None
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(_peak, shape, operator, solver, choice).result()


def _peak(shape: Shape, operator: str, solver: str, choice: str) -> float:
    keep_freed_memory()
    contender = sbo(operator, solver, rollouts(shape.T)[choice])(shape)
    before = _peak_mib()
    contender.train()
    return _peak_mib() - before


def _peak_mib() -> float:
    """Peak resident memory; that of `resource.getrusage` starts at the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**10


def _line(row: Row) -> str:
    name = f"**{row['choice']}**" if row["automatic"] else row["choice"]
    peak = "" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}"
    return (
        f"| {row['shape']} | {row['operator']}, {row['solver']} | {name} | {row['train_ms']:.1f} | "
        f"{row['over_best']:.2f} | {row['temp_mib']:.0f} | {peak} |"
    )
