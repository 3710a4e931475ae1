"""The model for a task where the configuration leaves it open; tasks themselves know no model."""

from typing import Any

from ..tasks.registry import properties
from .config import TrainConfig
from .config.model import HIDDEN, Lower

# The best of those compared on small data sets: docs/results/archive-candidates.md.
_OWN_HIDDEN = 64
_OWN_LOWER = {"operator": "dense", "solver": "heavy_ball"}


def suggested(config: TrainConfig) -> TrainConfig:
    """The configuration with a width, and for the user's own data a lower level that suits them.

    Any option of the lower level is a choice, and leaves all others at the preset's.
    """
    is_own = properties(config.data.task).needs_folder
    changes: dict[str, Any] = {}
    if config.layer.hidden is None:
        changes["hidden"] = _OWN_HIDDEN if is_own else HIDDEN
    if is_own and config.layer.model == "sbo" and config.lower == Lower():
        changes |= _OWN_LOWER
    return config.changed(**changes)
