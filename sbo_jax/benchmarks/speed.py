"""`benchmark.py speed`: all layers against each other and the floor, shape by shape."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax

from ..devices.environment import environment
from ..devices.failures import in_one_sentence
from ..disk.text import JsonLines
from .contenders import GRID, Build, Shape, floor, jax_contenders
from .timing import check_seconds, medians
from .torch_peers import torch_contenders

FLOOR, LSTM = "floor", "torch LSTM"
RATIOS = ("train_over_floor", "infer_over_floor")

Row = dict[str, Any]


@dataclass(frozen=True)
class SpeedConfig:
    """Time a training step and inference of SBO-RNN, its peers and the floor, in one run."""

    shapes: tuple[str, ...] = GRID
    """time steps, samples, hidden units: T,B,D"""
    only: tuple[str, ...] = ()
    """names to time, or their beginnings, for example "sbo dense"; the floor is always timed"""
    devices: tuple[int, ...] = (1,)
    """numbers of devices that share each batch; JAX_NUM_CPU_DEVICES=2 makes two of a CPU"""
    seconds: float = 40.0
    """time to spend on training steps, and as much on inference, per shape"""
    out: Path | None = None
    """JSON lines: the environment, then one line per shape and name"""
    compare: Path | None = None
    """an earlier file of this command: print what changed, in ratios to the floor"""

    def builds(self) -> dict[str, Build]:
        """The floors and the chosen contenders; ValueError for an unknown name."""
        known = torch_contenders()
        for count in self.devices:
            if not 1 <= count <= jax.device_count():
                raise ValueError(
                    f"expected devices between 1 and the {jax.device_count()} there are, got "
                    f"{count}; try JAX_NUM_CPU_DEVICES={count} in the environment"
                )
            known |= {on(count, name): build for name, build in jax_contenders(count).items()}
        for asked in self.only:
            if not any(name.startswith(asked) for name in known):
                raise ValueError(f"expected names among {', '.join(known)}, got {asked!r}")
        chosen = {name: b for name, b in known.items() if name.startswith(self.only or ("",))}
        floors = {on(n, FLOOR): partial(floor, devices=n) for n in (1, *self.devices)}
        return floors | chosen


@in_one_sentence("benchmark.py")
def benchmark_speed(config: SpeedConfig) -> int:
    """Measure, print tables, write lines; exit code 0, or 2 for bad input."""
    shapes, builds = [Shape.parse(text) for text in config.shapes], config.builds()
    before = _read(config.compare) if config.compare else {}
    if config.compare and not before.keys() & {(str(s), FLOOR) for s in shapes}:
        raise ValueError(f"expected one of the shapes in {config.compare}, got others")
    check_seconds(config.seconds)
    out = JsonLines(config.out)
    here = environment()
    print(json.dumps(here))
    lines: list[Row] = [here]
    with out:
        for shape in shapes:
            rows = list(measure(builds, shape, config.seconds))
            lines += rows
            print(f"\n(T, B, D) = ({shape})\n{table(rows)}", flush=True)
            if before:
                print("\n".join(changes(rows, before)))
            out.write(lines)
    return 0


def on(devices: int, name: str) -> str:
    """The name of a contender that shares every batch among so many devices."""
    return name if devices == 1 else f"{name}, {devices} devices"


def own_floor(name: str) -> str:
    """The name of the floor on as many devices as this contender has."""
    _, comma, devices = name.partition(",")
    return FLOOR + comma + devices


def measure(builds: dict[str, Build], shape: Shape, seconds: float) -> Iterator[Row]:
    """One row per contender, times in milliseconds and as ratios to the floor's."""
    built = {name: build(shape) for name, build in builds.items()}
    contenders = {name: contender for name, contender in built.items() if contender}
    train = medians({name: c.train for name, c in contenders.items()}, seconds=seconds)
    infer = medians({name: c.infer for name, c in contenders.items()}, seconds=seconds)
    for name, contender in contenders.items():
        yield {
            "shape": str(shape),
            "name": name,
            "train_ms": 1e3 * train[name],
            "train_over_floor": train[name] / train[FLOOR],
            "train_over_own_floor": train[name] / train[own_floor(name)],
            "infer_ms": 1e3 * infer[name],
            "infer_over_floor": infer[name] / infer[FLOOR],
            "compile_s": contender.compile_seconds,
            "temp_mib": contender.temp_mib,
            "parameters": contender.parameters,
        }


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown, with ratios to the floor and to torch's LSTM."""
    lstm = next((row["train_ms"] for row in rows if row["name"] == LSTM), None)
    head = "| | train ms | / floor | / own floor | / torch LSTM | infer ms | / floor | compile s "
    lines = [head + "| temp MiB |", "| --- " * 9 + "|"]
    for row in rows:
        cells = [
            row["name"],
            f"{row['train_ms']:.1f}",
            f"{row['train_over_floor']:.2f}",
            f"{row['train_over_own_floor']:.2f}",
            _number(lstm and row["train_ms"] / lstm, ".2f"),
            f"{row['infer_ms']:.1f}",
            f"{row['infer_over_floor']:.2f}",
            _number(row["compile_s"], ".1f"),
            _number(row["temp_mib"], ".0f"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def changes(rows: Sequence[Row], before: dict[tuple[str, str], Row]) -> Iterator[str]:
    """Ratios to the floor that differ by 5 % or more between these rows and the earlier ones."""
    yield "changed by 5 % or more against the earlier file (ratio to the floor, then -> now):"
    for row in rows:
        old = before.get((row["shape"], row["name"]))
        for name in RATIOS:
            if old and abs(row[name] / old[name] - 1) >= 0.05:
                yield f"  {row['name']}, {name.split('_')[0]}: {old[name]:.2f} -> {row[name]:.2f}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _read(path: Path) -> dict[tuple[str, str], Row]:
    """Rows of an earlier run by shape and name; ValueError for another file."""
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines[1:]:
            for ratio in RATIOS:
                1 / line[ratio]
        return {(line["shape"], line["name"]): line for line in lines[1:]}
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise ValueError(f"expected a file that --out wrote, got {path} ({error!r})") from error
