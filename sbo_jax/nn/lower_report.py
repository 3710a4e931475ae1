"""What a model's lower levels do at its current parameters: eta beside its bound."""

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx

from .cell import SBOCell
from .layer import SBORNN


def damped_cells(model: nnx.Module) -> list[tuple[SBOCell, float]]:
    """Every `SBOCell` inside `model`, layer by layer, with the damping that its rollout adds."""
    modules = [module for _, module in nnx.iter_modules(model)]
    dampings = {
        id(cell): float(module.rollout.damping)
        for module in modules
        if isinstance(module, SBORNN)
        for cell in module.cells
    }
    cells = [module for module in modules if isinstance(module, SBOCell)]
    return [(cell, dampings.get(id(cell), 0.0)) for cell in cells]


class LowerReport(NamedTuple):
    """The largest eta of any unit and layer, and the smallest 1/L; None where there is none.

    Of the energies that are descended: L counts the damping of a rollout.
    """

    eta_max: float | None
    bound: float | None

    @classmethod
    def of(cls, model: nnx.Module) -> "LowerReport":
        """Summarise every `SBOCell` inside `model`."""
        cells = damped_cells(model)
        if not cells:
            return cls(None, None)
        eta_max = max(float(jnp.max(cell.hyperparameters(damping)[0])) for cell, damping in cells)
        try:
            bound = min(float(1 / cell.smoothness(damping)) for cell, damping in cells)
        except ValueError:
            bound = None
        return cls(eta_max, bound)

    def __str__(self) -> str:
        if self.eta_max is None:
            return "the model has no lower-level step size"
        bound = "unknown for this activation" if self.bound is None else f"{self.bound:.4g}"
        return f"largest lower-level eta {self.eta_max:.4g}, bound 1/L {bound}"
