"""The options of a sweep: a grid over eta, mu and seed, for every row of its report."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from ...tasks.registry import properties
from ..suggestions import suggested
from .model import Hyper, Lower, SweptLayer
from .needs import Given, as_used
from .options import PLACE, Options
from .registry import EtaKind, OperatorName, Solver
from .train import Data, Run, TrainConfig, check
from .training import Augmentation, SweptUpper

# What tells rows from one another, and the option that has the values of all of them.
_ROWS = {"operator": "operators", "solver": "solvers", "hidden": "hidden"}


@dataclass(frozen=True)
class SweepConfig(Options):
    """Train a grid over eta, mu and seed at once. Without arguments: 30 cells on digits."""

    etas: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0)
    """lower-level step sizes, > 0; see eta-kind"""
    eta_kind: EtaKind = "fixed"
    """what --etas are: fixed, constants; learned, starts; normalised, starts in units of the bound
    1/L (0 < eta < 1); fixed_normalised, constants in these units"""
    mus: tuple[float, ...] = (0.0, 0.5, 0.9)
    """momenta, in [0, 1); 0 is SGD"""
    seeds: tuple[int, ...] = (0, 1)
    """of the parameters"""
    operators: tuple[OperatorName, ...] = ()
    """recurrent maps, one row of the report each; none: that of --operator"""
    solvers: tuple[Solver, ...] = ()
    """lower-level optimisers with momentum, one row of the report each; none: that of --solver"""
    mesh: Annotated[str | None, PLACE] = None
    """devices as in sweep=4,data=2: cells are split over sweep, batches over data; None: as
    many devices as there are cells, and all of several processes"""
    out: Annotated[Path | None, PLACE] = None
    """run folder, which must not hold a run yet; None: runs/sweep-TASK-TIME-SUFFIX"""
    resume: Annotated[bool, PLACE, Given("out", "RUN")] = False
    """go on with the sweep in --out, or start it where there is none"""
    compilation_cache: Annotated[Path | None, PLACE] = None
    """folder that keeps compiled programs for the next start; see train.py"""
    data: Data = field(default_factory=Data)
    layer: SweptLayer = field(default_factory=SweptLayer)
    lower: Lower = field(default_factory=Lower)
    upper: SweptUpper = field(default_factory=SweptUpper)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def check(self) -> None:
        """ValueError unless the grid has different cells, each of them a run that is allowed."""
        if self.resume:
            Given("out", "RUN").check(self.options()["resume"], self)
        for name in ("etas", "mus", "seeds", "hidden"):
            self._check_different(name)
        for name in ("operator", "solver"):
            self._check_one_or_several(name)
        if properties(self.data.task).is_stream:
            raise ValueError(
                f"expected a task whose samples stand for themselves, got {self.data.task}, which "
                f"goes on from batch to batch; train.py trains it, one eta at a time"
            )
        for row in self.rows():
            row.check_row()

    def _check_different(self, name: str) -> None:
        values = self.options()[name].value(self)
        if not values or len(set(as_used(values))) < len(values):
            hint = ", some equal in float32" if len(set(values)) == len(values) else ""
            got = f"{list(values)}{hint if values else ''}"
            raise ValueError(f"expected one or more different {name}, got {got}")

    def _check_one_or_several(self, name: str) -> None:
        one, several = (self.options()[option] for option in (name, _ROWS[name]))
        if not several.value(self):
            return
        self._check_different(several.name)
        if one.value(self) is not None:
            raise ValueError(
                f"{one.flag} has no effect with {several.flag} {','.join(several.value(self))}; "
                f"remove it"
            )

    def check_row(self) -> None:
        """ValueError unless every cell of the only row is a run that is allowed."""
        level = self.lower.level()
        if not level.takes_mu:
            raise ValueError(
                "expected a solver with momentum, got none; try --solver heavy_ball --mus 0, which "
                "is sgd"
            )
        for cell in self.cells():
            check(self.run(*cell))

    def rows(self) -> list["SweepConfig"]:
        """The sweeps of a single row that this one consists of, in the order of the report."""
        choices = (self.operators or (None,), self.solvers or (None,), self.layer.hidden)
        return [self._row(*choice) for choice in itertools.product(*choices)]

    def _row(self, operator: str | None, solver: str | None, hidden: int) -> "SweepConfig":
        chosen: dict[str, Any] = {"operators": (), "solvers": (), "hidden": (hidden,)}
        if operator is not None:
            chosen["operator"] = operator
        if solver is not None:
            chosen["solver"] = solver
        return self.changed(**chosen)

    def tells_apart(self, row: "SweepConfig") -> Mapping[str, Any]:
        """The options of a row that differ between rows; none where there is one row."""
        lower, (hidden,) = row.lower, row.layer.hidden
        chosen = {"operator": lower.operator, "solver": lower.solver, "hidden": hidden}
        several = {name: self.options()[_ROWS[name]].value(self) for name in chosen}
        return {name: value for name, value in chosen.items() if len(several[name]) > 1}

    def cells(self) -> list[tuple[float, float, int]]:
        """The grid as (eta, mu, seed), the seed running fastest."""
        return list(itertools.product(self.etas, self.mus, self.seeds))

    def run(self, eta: float, mu: float, seed: int) -> TrainConfig:
        """The single run that a cell of the first row stands for."""
        hyper = Hyper(eta=eta, eta_kind=self.eta_kind, mu=mu)
        run, layer = Run(seed=seed, mesh="data=1"), self.layer.of_width(self.layer.hidden[0])
        return suggested(
            TrainConfig(
                self.data,
                layer,
                self.lower,
                hyper=hyper,
                upper=self.upper.of_cell(),
                augmentation=self.augmentation,
                run=run,
            )
        )
