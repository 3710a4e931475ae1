"""What a configuration leaves open, filled in; what it would have anyway, left open again."""

from ..tasks.registry import properties
from .config import TrainConfig
from .config.model import HIDDEN
from .config.registry import OPERATORS, PRESETS, SOLVERS

# The best of those compared on small data sets: docs/results/archive-candidates.md.
_OWN_HIDDEN = 64


def suggested(config: TrainConfig) -> TrainConfig:
    """The configuration with a width, which is smaller for the user's own data."""
    if config.layer.hidden is not None:
        return config
    is_own = properties(config.data.task).needs_folder
    return config.changed(hidden=_OWN_HIDDEN if is_own else HIDDEN)


def shortest(config: TrainConfig) -> TrainConfig:
    """The same run without the length, width, solver and map that it would have anyway.

    What the task's recipe decides stays as it is: only data that were loaded know it.
    """
    lower, preset = config.lower, PRESETS[config.lower.preset]
    width = suggested(config.changed(hidden=None)).layer.hidden
    needless = {
        "length": config.data.length == properties(config.data.task).default_length,
        "hidden": config.layer.hidden == width,
        "solver": SOLVERS.get(lower.solver or "") is preset.solver,
        "operator": OPERATORS.get(lower.operator or "") == preset.operator,
    }
    return config.changed(**{name: None for name, is_needless in needless.items() if is_needless})
