"""How long, and in what batches, a user's own data are trained on: by their size alone."""

from .._types import Recipe

_FEWEST_UPDATES, _MOST_UPDATES = 2000, 5000
# Small data sets would spend their time on looks at the validation split.
_STEPS_BETWEEN_LOOKS = 50


def recipe_of(count: int) -> tuple[Recipe, int]:
    """The recipe for so many training samples, and how many of them count as one epoch.

    Passes over few samples are short: several of them are one epoch, which a look at the validation
    split ends.
    """
    batch_size = _batch_size(count)
    updates = min(_MOST_UPDATES, max(_FEWEST_UPDATES, 20 * count))
    passes = -(-_STEPS_BETWEEN_LOOKS // (count // batch_size))
    epoch_size = passes * count
    epochs = -(-updates // (epoch_size // batch_size))
    recipe = Recipe(
        epochs,
        batch_size,
        upper_rate=4e-3,
        updates=updates,
        patience=20,
        select="metric_then_loss",
    )
    return recipe, epoch_size


def _batch_size(count: int) -> int:
    """A power of 2 from 16 to 64, at most an eighth of the samples, or all of fewer than 16."""
    return min(count, 64, 2 ** max(4, (count // 8).bit_length() - 1))
