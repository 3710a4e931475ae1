"""A grid over (eta, mu, seed), trained at once by `fit_many`, which compiles one step for all.

eta and mu are arrays, so that models which differ in them alone share a structure. A cell equals
the run that `scripts/train.py` makes of the same eta, mu and seed, except that all cells see the
batches in the order of seed 0, and train for all epochs, on the training samples alone.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax import nnx
from jax.sharding import Mesh

from ..devices.mesh import check_divides, parse_mesh
from ..nn.lower_report import LowerReport
from ..tasks._types import Task
from ..tasks.registry import properties
from ..training.fit import BetweenBatches, default_optimizer, steps_per_epoch
from ..training.fit_many import SweepEpoch, fit_many, share_of_cells, sweep_mesh
from ..training.losses import OnStep
from ..training.method import Method
from ..training.step import bptt
from .build import build_model
from .config import Options, TrainConfig, check
from .config.model import Hyper, Layer, Lower
from .config.needs import as_used
from .config.train import Data, Run
from .config.training import Upper
from .folder.description import TASK_SHAPE
from .preparation import Prepared, check_size, load_task, prepare
from .suggestions import suggested


@dataclass(frozen=True)
class SweepConfig(Options):
    """Train a grid over eta, mu and seed at once. Without arguments: 30 cells on digits."""

    etas: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0)
    """lower-level step sizes, > 0"""
    mus: tuple[float, ...] = (0.0, 0.5, 0.9)
    """momenta, in [0, 1); 0 is SGD"""
    seeds: tuple[int, ...] = (0, 1)
    """of the parameters"""
    mesh: str | None = None
    """devices as in sweep=4,data=2: cells are split over sweep, batches over data; None: as
    many devices as can share the cells"""
    out: Path | None = None
    """run folder, which must not hold a run yet; None: runs/sweep-TASK-TIME"""
    data: Data = field(default_factory=Data)
    layer: Layer = field(default_factory=lambda: Layer(hidden=32))
    lower: Lower = field(default_factory=Lower)
    upper: Upper = field(default_factory=lambda: Upper(epochs=20))

    def check(self) -> None:
        """ValueError unless the grid has different cells, each of them a run that is allowed."""
        for name in ("etas", "mus", "seeds"):
            values = getattr(self, name)
            if not values or len(set(as_used(values))) < len(values):
                hint = ", some equal in float32" if len(set(values)) == len(values) else ""
                got = f"{list(values)}{hint if values else ''}"
                raise ValueError(f"expected one or more different {name}, got {got}")
        if properties(self.data.task).is_stream:
            raise ValueError(
                f"expected a task whose samples stand for themselves, got {self.data.task}, which "
                f"goes on from batch to batch; train.py trains it, one eta at a time"
            )
        if not self.lower.level().takes_mu:
            raise ValueError(
                "expected a solver with momentum, got none; try --solver heavy_ball --mus 0, which "
                "is sgd"
            )
        if math.inf in self.etas:
            raise ValueError("expected finite etas, got inf; try 1.0")
        for cell in self.cells():
            check(self.run(*cell))

    def cells(self) -> list[tuple[float, float, int]]:
        """The grid as (eta, mu, seed), the seed running fastest."""
        return list(itertools.product(self.etas, self.mus, self.seeds))

    def run(self, eta: float, mu: float, seed: int) -> TrainConfig:
        """The single run that a cell stands for."""
        hyper, run = Hyper(eta=eta, mu=mu), Run(seed=seed, mesh="data=1")
        return suggested(
            TrainConfig(self.data, self.layer, self.lower, hyper=hyper, upper=self.upper, run=run)
        )


class PreparedSweep(NamedTuple):
    """A configuration that was found good, the run of its first cell, and a model per cell."""

    config: SweepConfig
    first: Prepared
    models: Sequence[nnx.Module]
    mesh: Mesh

    @property
    def method(self) -> Method:
        """How every cell is trained."""
        recipe = self.first.recipe
        num_steps = recipe.epochs * steps_per_epoch(self.first.task, recipe.batch_size)
        return bptt(default_optimizer(recipe.upper_rate, num_steps, self.first.config.upper.clip))


def prepare_sweep(
    config: SweepConfig,
    load: Callable[[Data], Task] = load_task,
    devices: Sequence[jax.Device] | None = None,
) -> PreparedSweep:
    """Load the data and draw the models, to be trained on `devices`, by default this process's.

    ValueError for anything wrong, in one sentence.
    """
    config.check()
    cells = config.cells()
    first = prepare(config.run(*cells[0]), load, devices)
    shape = {name: getattr(first.task, name) for name in TASK_SHAPE}
    check_size(first.config, first.task, first.recipe.batch_size, len(cells))
    models = [build_model(config.run(*cell), **shape) for cell in cells]
    default = config.mesh is None
    mesh = sweep_mesh(len(cells), devices) if default else parse_mesh(config.mesh, devices)
    check_divides(mesh, first.recipe.batch_size)
    share_of_cells(mesh, len(cells))
    return PreparedSweep(config, first, models, mesh)


def sweep(
    prepared: PreparedSweep,
    on_step: OnStep = lambda *_: None,
    between_batches: BetweenBatches = lambda: None,
) -> Iterator[SweepEpoch]:
    """Train the cells of `prepared` as its configuration says; see `fit_many`."""
    first, recipe = prepared.first, prepared.first.recipe
    return fit_many(
        prepared.models,
        first.task,
        first.objective,
        prepared.method,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        mesh=prepared.mesh,
        on_step=on_step,
        between_batches=between_batches,
    )


def cell_reports(prepared: PreparedSweep, epochs: Sequence[SweepEpoch]) -> list[dict[str, Any]]:
    """What is known of every cell, JSON-able; a diverged one has no final value.

    `curve` has its epochs before it diverged, as the lines of a run's metrics.jsonl. `eta_L` is eta
    times the bound L at the initial parameters, None for an energy without a bound.
    """
    objective = prepared.first.objective
    pick = max if objective.higher_is_better else min
    lines = []
    for index, (eta, mu, seed) in enumerate(prepared.config.cells()):
        curve = [_line(epoch, index) for epoch in epochs if not epoch.diverged_step[index]]
        best = pick(curve, key=lambda line: line["validation"], default=None)
        step = int(epochs[-1].diverged_step[index]) or None if epochs else None
        bound = LowerReport.of(prepared.models[index]).bound
        line: dict[str, Any] = {"eta": eta, "mu": mu, "seed": seed}
        line |= {"eta_L": bound and eta / bound, "metric": objective.metric_name}
        line |= {"final": curve[-1]["validation"] if curve and step is None else None}
        line |= {"best": best and best["validation"], "best_epoch": best and best["epoch"]}
        line |= {"diverged": step is not None, "diverged_step": step}
        lines.append(line | {"diverged_epoch": step and len(curve) + 1, "curve": curve})
    return lines


def _line(epoch: SweepEpoch, index: int) -> dict[str, Any]:
    names = ("train_loss", "validation_loss", "validation")
    return {"epoch": epoch.epoch} | {name: float(getattr(epoch, name)[index]) for name in names}
