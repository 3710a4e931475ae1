"""The table of tasks against the tasks: what an entry says without data must hold with them."""

import math

from sbo_jax.tasks import registry


def check_properties(name, task, chosen_length=None):
    entry = registry.properties(name)
    assert task.length == (chosen_length or entry.default_length or task.length)
    assert entry.has_split_seed == ("split_seed" in task.facts)
    assert entry.predicts_tokens == (task.metric == "perplexity")
    assert entry.is_stream == hasattr(task.train, "tokens")
    if entry.is_square_image:
        assert math.isqrt(task.length) ** 2 == task.length
        assert "permutation_seed" not in task.facts
