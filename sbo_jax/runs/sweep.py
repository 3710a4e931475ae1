"""A grid over (eta, mu, seed), trained at once by `fit_many`, which compiles one step for all.

eta and mu are arrays, so that models which differ in them alone share a structure. A cell equals
the run that `scripts/train.py` makes of the same eta, mu and seed, except that all cells see the
batches in the order of seed 0, draw the noise of gradients and the changes of samples from the
first seed of the grid, and train for all epochs, on the training samples alone. Grids over several
operators, solvers or widths are rows of one report, each compiled and trained by itself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
from flax import nnx
from jax.sharding import Mesh

from ..devices.mesh import check_divides, parse_mesh, platform
from ..nn.lower_report import LowerReport
from ..tasks._types import Task
from ..training.fit import BetweenBatches, steps_per_epoch
from ..training.fit_many import SweepEpoch, fit_many, stack, sweep_mesh
from ..training.losses import OnStep
from ..training.method import Method
from .build import build_model
from .config.registry import NORMALISED
from .config.sweep import SweepConfig as SweepConfig
from .config.train import Data
from .folder.checkpoints import Checkpoints
from .folder.description import TASK_SHAPE, describe
from .folder.sweep_progress import SweepProgress
from .preparation import Prepared, check_size, load_task, prepare

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class PreparedSweep(NamedTuple):
    """One row that was found good: its configuration, the run of its first cell, a model per cell.

    ``tells_apart`` are the options by which it differs from other rows, if there are any.
    """

    config: SweepConfig
    first: Prepared
    models: Sequence[nnx.Module]
    mesh: Mesh
    tells_apart: Mapping[str, Any] = _NOTHING

    @property
    def label(self) -> str:
        """As in "operator dense, hidden 64"; "" for the only row."""
        return ", ".join(f"{name} {value}" for name, value in self.tells_apart.items())

    @property
    def part(self) -> str:
        """The folder of this row in that of the sweep."""
        names = "-".join(map(str, self.tells_apart.values()))
        return f"rows/{names}" if names else ""

    @property
    def num_steps(self) -> int:
        """Upper-level steps in all."""
        recipe = self.first.recipe
        return recipe.epochs * steps_per_epoch(self.first.task, recipe.batch_size)

    @property
    def method(self) -> Method:
        """How every cell is trained."""
        return self.first.method


def prepare_rows(config: SweepConfig) -> list[PreparedSweep]:
    """Load the data once and draw the models; ValueError for anything wrong, in one sentence."""
    config.check()
    load = cache(load_task)
    return [prepare_sweep(row, load, None, config.tells_apart(row)) for row in config.rows()]


def prepare_sweep(
    config: SweepConfig,
    load: Callable[[Data], Task] = load_task,
    devices: Sequence[jax.Device] | None = None,
    tells_apart: Mapping[str, Any] = _NOTHING,
) -> PreparedSweep:
    """The same for a sweep of one row, to be trained on `devices`, by default all there are."""
    config.check()
    if len(config.rows()) > 1:
        raise ValueError(f"expected one row, got {len(config.rows())}; try prepare_rows")
    cells = config.cells()
    # The run of a cell is as on one device: it needs no other, in whichever process.
    one = (jax.local_devices() if devices is None else devices)[:1]
    first = prepare(config.run(*cells[0]), load, one)
    shape = {name: getattr(first.task, name) for name in TASK_SHAPE}
    check_size(first.config, first.task, first.recipe.batch_size, len(cells))
    default = config.mesh is None
    mesh = sweep_mesh(len(cells), devices) if default else parse_mesh(config.mesh, devices)
    check_divides(mesh, first.recipe.batch_size)
    on = platform(mesh)
    models = [build_model(config.run(*cell), **shape, platform=on) for cell in cells]
    return PreparedSweep(config, first, models, mesh, tells_apart)


def described(config: SweepConfig, rows: Sequence[PreparedSweep]) -> dict[str, Any]:
    """The content of config.json."""
    first = rows[0].first
    return describe(config, first.recipe, first.task, "sweep")


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
        prepared.method,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        mesh=prepared.mesh,
        start=start,
        on_step=on_step,
        between_batches=between_batches,
    )


def sweep_progress(prepared: PreparedSweep, checkpoints: Checkpoints) -> SweepProgress:
    """How far these checkpoints say that the sweep has come."""
    fresh = stack(prepared.models, prepared.method)[1]
    content = described(prepared.config, [prepared])
    return SweepProgress(checkpoints, content, fresh, prepared.mesh)


def cell_reports(prepared: PreparedSweep, epochs: Sequence[SweepEpoch]) -> list[dict[str, Any]]:
    """What is known of every cell, JSON-able; a diverged one has no final value.

    `curve` has its epochs before it diverged, as the lines of a run's metrics.jsonl. `eta_L` is eta
    times the bound L at the initial parameters, None for an energy without a bound. A cell names
    the options that tell its row from others, and what its eta is unless that is a constant.
    """
    objective, kind = prepared.first.objective, prepared.config.eta_kind
    pick = max if objective.higher_is_better else min
    lines = []
    for index, (eta, mu, seed) in enumerate(prepared.config.cells()):
        curve = [_line(epoch, index) for epoch in epochs if not epoch.diverged_step[index]]
        best = pick(curve, key=lambda line: line["validation"], default=None)
        step = int(epochs[-1].diverged_step[index]) or None if epochs else None
        line: dict[str, Any] = {"row": prepared.label} if prepared.tells_apart else {}
        line |= prepared.tells_apart
        line |= {"eta": eta, "mu": mu, "seed": seed}
        line |= {} if kind == "fixed" else {"eta_kind": kind}
        line |= {"eta_L": _eta_l(prepared, index, eta), "metric": objective.metric_name}
        line |= {"final": curve[-1]["validation"] if curve and step is None else None}
        line |= {"best": best and best["validation"], "best_epoch": best and best["epoch"]}
        line |= {"diverged": step is not None, "diverged_step": step}
        lines.append(line | {"diverged_epoch": step and len(curve) + 1, "curve": curve})
    return lines


def _eta_l(prepared: PreparedSweep, index: int, eta: float) -> float | None:
    if prepared.config.eta_kind in NORMALISED:
        return eta
    bound = LowerReport.of(prepared.models[index]).bound
    return bound and eta / bound


def _line(epoch: SweepEpoch, index: int) -> dict[str, Any]:
    names = ("train_loss", "validation_loss", "validation")
    return {"epoch": epoch.epoch} | {name: float(getattr(epoch, name)[index]) for name in names}
