"""A grid over (eta, mu, seed), trained at once by `fit_many`, which compiles one step for all.

eta and mu are arrays, so that models which differ in them alone share a structure. A cell equals
the run that `scripts/train.py` makes of the same eta, mu and seed, except that all cells see the
batches in the order of seed 0, and train for all epochs, on the training samples alone.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
from flax import nnx
from jax.sharding import Mesh

from ..devices.mesh import check_divides, make_mesh, parse_mesh
from ..nn.lower_report import LowerReport
from ..tasks.registry import properties
from ..training.fit import BetweenBatches, default_optimizer, steps_per_epoch
from ..training.fit_many import SweepEpoch, fit_many, stack, sweep_mesh
from ..training.losses import OnStep
from ..training.method import Method
from ..training.step import bptt
from .build import build_model
from .config import Options, TrainConfig, check
from .config.model import Hyper, Layer, Lower
from .config.needs import Given, as_used
from .config.options import PLACE
from .config.train import Data, Run
from .config.training import Upper
from .folder.checkpoints import Checkpoints
from .folder.description import TASK_SHAPE, describe
from .folder.sweep_progress import SweepProgress
from .preparation import Prepared, check_size, prepare
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
    mesh: Annotated[str | None, PLACE] = None
    """devices as in sweep=4,data=2: cells are split over sweep, batches over data; None: as
    many devices as can share the cells"""
    out: Annotated[Path | None, PLACE] = None
    """run folder, which must not hold a run yet; None: runs/sweep-TASK-TIME"""
    resume: Annotated[bool, PLACE, Given("out", "RUN")] = False
    """go on with the sweep in --out, or start it where there is none"""
    data: Data = field(default_factory=Data)
    layer: Layer = field(default_factory=lambda: Layer(hidden=32))
    lower: Lower = field(default_factory=Lower)
    upper: Upper = field(default_factory=lambda: Upper(epochs=20))

    def check(self) -> None:
        """ValueError unless the grid has different cells, each of them a run that is allowed."""
        if self.resume:
            Given("out", "RUN").check(self.options()["resume"], self)
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

    def described(self) -> dict[str, Any]:
        """The content of config.json."""
        return describe(self.config, self.first.recipe, self.first.task, "sweep")


def prepare_sweep(config: SweepConfig) -> PreparedSweep:
    """Load the data and draw the models; ValueError for anything wrong, in one sentence."""
    config.check()
    cells = config.cells()
    # The run of a cell is as on one device: it needs no other, in whichever process.
    first = prepare(config.run(*cells[0]), mesh=make_mesh(devices=jax.local_devices()[:1]))
    shape = {name: getattr(first.task, name) for name in TASK_SHAPE}
    check_size(first.config, first.task, first.recipe.batch_size, len(cells))
    models = [build_model(config.run(*cell), **shape) for cell in cells]
    mesh = sweep_mesh(len(cells)) if config.mesh is None else parse_mesh(config.mesh)
    check_divides(mesh, first.recipe.batch_size)
    return PreparedSweep(config, first, models, mesh)


def sweep(
    prepared: PreparedSweep,
    on_step: OnStep = lambda *_: None,
    between_batches: BetweenBatches = lambda: None,
    start: SweepEpoch | None = None,
) -> Iterator[SweepEpoch]:
    """Train the cells of `prepared` as its configuration says; see `fit_many`."""
    first, recipe = prepared.first, prepared.first.recipe
    return fit_many(
        prepared.models,
        first.task,
        first.objective,
        _method(prepared),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        mesh=prepared.mesh,
        start=start,
        on_step=on_step,
        between_batches=between_batches,
    )


def sweep_progress(prepared: PreparedSweep, checkpoints: Checkpoints) -> SweepProgress:
    """How far these checkpoints say that the sweep has come."""
    fresh = stack(prepared.models, _method(prepared))[1]
    return SweepProgress(checkpoints, prepared.described(), fresh, prepared.mesh)


def _method(prepared: PreparedSweep) -> Method:
    recipe = prepared.first.recipe
    num_steps = recipe.epochs * steps_per_epoch(prepared.first.task, recipe.batch_size)
    return bptt(default_optimizer(recipe.upper_rate, num_steps, prepared.config.upper.clip))


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
