"""Why training diverged, as far as the options of a run tell."""

from ..training.losses import Diverged
from .preparation import Prepared

# Of rate x decay: beyond, a step multiplies matrices by a factor 1 - rate x decay below -1.
_LARGEST_DECAY = 2.0


def explained(error: Diverged, prepared: Prepared) -> Diverged:
    """The same with the option that caused it, or with those that may have."""
    decay, rate = prepared.config.upper.weight_decay, prepared.recipe.upper_rate
    if decay * rate > _LARGEST_DECAY:
        cause = (
            f"--weight-decay {decay:g} times the largest step size {rate:g} is {decay * rate:.3g}, "
            f"and matrices grow beyond {_LARGEST_DECAY:g}"
        )
        return Diverged(f"{error.what}; {cause}", "a smaller --weight-decay")
    if learned := prepared.config.method.learn_hyper:
        moved = f"a smaller --hyper-rate, which moves {', '.join(learned)}"
        return Diverged(error.what, f"{error.advice}, or {moved}")
    return error
