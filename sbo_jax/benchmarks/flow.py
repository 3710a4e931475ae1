"""`benchmark.py flow`: do gradients reach back through random inputs, untrained and trained?

The ratio of the largest to the smallest ||dl/dh_t|| over t, l a linear read-out of the last state,
one norm over the samples. 1 is even; it is infinite where a norm underflows to 0 or overflows.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from ..devices.environment import environment
from ..devices.failures import in_one_sentence
from ..disk.text import JsonLines
from ..lower.hyperparameters import Bounded, LogSpaced, Normalised
from ..lower.level import OSCILLATING, PAPER, STABLE, LowerLevel
from ..lower.operators import LowRank
from ..lower.solvers import nesterov
from ..nn.gradient_flow import layer_gradient_flow
from ..nn.heads import Readout
from ..nn.layer import SBORNN
from ..runs.config.registry import PEERS
from ..stability.flow import flow_ratio
from ..trained import load
from ..training.method import GraphDef

Row = dict[str, Any]

# Numbers per input, and draws of weights and inputs for each; scalar inputs are the hardest.
DRAWS: Mapping[int, int] = {1: 30, 2: 8, 16: 8, 128: 8}
_DRAWS_OF_A_RUN = 8
_HIDDEN = 128
_SAMPLES = 8
_INPUTS = 1000  # the first seed of inputs, apart from those of weights

_LOW_RANK = replace(STABLE, solver=nesterov, operator=LowRank.init)
_FASTER = Normalised(LogSpaced(1e-3, 0.95))
LEVELS: Mapping[str, LowerLevel] = {
    "PAPER": PAPER,
    "STABLE: heavy ball, dense": STABLE,
    "OSCILLATING": OSCILLATING,
    "heavy ball, low rank": replace(STABLE, operator=LowRank.init),
    "Nesterov, dense": replace(STABLE, solver=nesterov),
    "Nesterov, low rank": _LOW_RANK,
    "STABLE, mu = 0.9 in all units": replace(STABLE, mu=Bounded(0.9)),
    "Nesterov, low rank, mu = 0.9 in all units": replace(_LOW_RANK, mu=Bounded(0.9)),
    "STABLE, mu = 0.9 in all units, s from 1e-3": replace(STABLE, mu=Bounded(0.9), eta=_FASTER),
    "Nesterov, low rank, mu = 0.9 in all units, s from 1e-3": replace(
        _LOW_RANK, mu=Bounded(0.9), eta=_FASTER
    ),
}
FLAX: Mapping[str, str] = {"SimpleCell": "rnn", "GRU": "gru", "LSTM": "lstm"}


@dataclass(frozen=True)
class FlowConfig:
    """Measure how evenly gradients reach back through standard normal inputs.

    Of lower levels and Flax's cells as they start, or of trained models. Exit code 0, 2 for bad
    input.
    """

    runs: tuple[Path, ...] = ()
    """run folders, whose models read the inputs; none: what starts"""
    steps: int = 1000
    """time steps"""
    hidden: int | None = None
    """units of what starts; None: 128"""
    out: Path | None = None
    """JSON lines: the environment, then one line per draw"""

    def check(self) -> None:
        """ValueError for sizes that cannot be."""
        if self.steps < 2:
            raise ValueError(f"expected steps >= 2, got {self.steps}; try 1000")
        if self.hidden is not None and self.runs:
            raise ValueError("--hidden has no effect with --runs; remove it")
        if self.hidden is not None and self.hidden < 1:
            raise ValueError(f"expected hidden >= 1, got {self.hidden}; try 128")


@in_one_sentence("benchmark.py")
def benchmark_flow(config: FlowConfig) -> int:
    """Measure, print, write lines."""
    config.check()
    out = JsonLines(config.out)
    lines: list[Row] = [environment()]
    print(json.dumps(lines[0]))
    print(f"\n| {'run' if config.runs else 'model'} | d = 1 | d > 1 |\n{'| --- ' * 3}|")
    with out:
        for name, rows in trained(config) if config.runs else starting(config):
            lines += rows
            print(_line(name, rows), flush=True)
            out.write(lines)
    return 0


def starting(config: FlowConfig) -> Iterator[tuple[str, list[Row]]]:
    """What every lower level and cell of Flax does as it starts, in all its draws."""
    hidden = config.hidden or _HIDDEN
    makers: dict[str, Callable[[int, nnx.Rngs], nnx.Module]] = {
        name: partial(_sbo, level, hidden) for name, level in LEVELS.items()
    }
    makers |= {name: partial(_peer, peer, hidden, config.steps) for name, peer in FLAX.items()}
    for name, make in makers.items():
        rows = []
        for width, count in DRAWS.items():
            for draw in range(count):
                layer = make(width, nnx.Rngs(draw))
                rows.append(_measured(name, layer, width, config.steps, draw))
        yield name, rows


def trained(config: FlowConfig) -> Iterator[tuple[str, list[Row]]]:
    """What the model of every run does with inputs that it was not trained on.

    Raises:
      ValueError: a folder without a model, or one whose model reads no numbers step by step.
    """
    for place in config.runs:
        run = load(place)
        if not isinstance(run.model, Readout):
            raise ValueError(f"expected runs that read numbers, got that of a text, {place}")
        layer, width = run.model.rnn, run.content["model"]["in_features"]
        draws = range(_DRAWS_OF_A_RUN)
        rows = [_measured(f"{place}", layer, width, config.steps, draw) for draw in draws]
        yield f"{place}", rows


def _sbo(level: LowerLevel, hidden: int, width: int, rngs: nnx.Rngs) -> nnx.Module:
    return SBORNN(width, hidden, lower=level, rngs=rngs)


def _peer(name: str, hidden: int, steps: int, width: int, rngs: nnx.Rngs) -> nnx.Module:
    return PEERS[name](width, hidden, steps, rngs)


def _measured(name: str, layer: nnx.Module, width: int, steps: int, draw: int) -> Row:
    xs = jax.random.normal(jax.random.key(_INPUTS + draw), (steps, _SAMPLES, width))
    ratio = float(_ratio(*nnx.split(layer), xs))
    return {"model": name, "d": width, "draw": draw, "steps": steps, "ratio": ratio}


@partial(jax.jit, static_argnums=0)
def _ratio(graphdef: GraphDef, state: Any, xs: Float[Array, "time batch d"]) -> Float[Array, ""]:
    return flow_ratio(layer_gradient_flow(nnx.merge(graphdef, state, copy=True), xs))


def _line(name: str, rows: Sequence[Row]) -> str:
    scalar = [row["ratio"] for row in rows if row["d"] == 1]
    wider = [row["ratio"] for row in rows if row["d"] > 1]
    return f"| {name} | {_range(scalar)} | {_range(wider)} |"


def _range(ratios: Sequence[float]) -> str:
    """Least to largest, and of how many; nothing of none."""
    if not ratios:
        return ""
    known = [ratio if math.isfinite(ratio) else math.inf for ratio in ratios]
    ends = dict.fromkeys(map(_number, (min(known), max(known))))
    return f"{' to '.join(ends)} ({len(known)} draws)"


def _number(ratio: float) -> str:
    return f"{ratio:.3g}" if math.isfinite(ratio) else "infinite"
