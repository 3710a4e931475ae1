"""The table of tasks against the tasks: what an entry says without data must hold with them."""

import math

import numpy as np

from sbo_jax import tasks
from sbo_jax.tasks import registry


def check_properties(name, task, chosen_length=None):
    entry = registry.properties(name)
    assert task.length == (chosen_length or entry.default_length or task.length)
    assert entry.has_split_seed == ("split_seed" in task.facts)
    assert entry.metric in (task.metric, None)
    assert entry.is_stream == hasattr(task.train, "tokens")
    if entry.is_square_image:
        assert math.isqrt(task.length) ** 2 == task.length
        assert "permutation_seed" not in task.facts
    if entry.outline is not None:
        check_outline(tasks.outline(name, length=chosen_length), task)


def check_outline(outline, task):
    """Samples of both look alike to a model; an outline of a text has all words of the original."""
    words = task.metric == "perplexity"
    names = ["name", "length", "metric", "recipe", "per_step", "is_equal", "target_std"]
    for name in names if words else [*names, "in_features", "out_features"]:
        assert getattr(outline, name) == getattr(task, name)
    for split in ("train", "validation", "test"):
        here, there = (getattr(each, split).fetch(np.arange(1)) for each in (outline, task))
        assert [(x.shape, x.dtype) for x in here] == [(x.shape, x.dtype) for x in there]
