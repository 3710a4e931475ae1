"""Times on a shared machine are unreliable; ratios of times taken in turn are less so.

All contenders run in every round, so that a slow minute of the machine slows them all, and the
median over rounds ignores outliers. In a round each runs twice and only the second run counts: the
first still meets the caches and spinning threads of its predecessor. A contender must block until
its result is ready.
"""

import math
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, TypeAlias

Thunk: TypeAlias = Callable[[], Any]


def medians(
    thunks: Mapping[str, Thunk], *, seconds: float, min_rounds: int = 3, max_rounds: int = 30
) -> dict[str, float]:
    """Median seconds of every thunk over interleaved rounds, after a round to warm up.

    Args:
      thunks: called in turn, each blocking until done.
      seconds: budget; as many rounds as fit, between `min_rounds` and `max_rounds`.
      min_rounds: at least this many, whatever they take.
      max_rounds: at most this many.
    """
    if not thunks:
        return {}
    round_seconds = 2 * sum(_round(thunks).values())  # which leaves compilation out
    rounds = min(max_rounds, max(min_rounds, int(seconds / round_seconds)))
    times = [_round(thunks) for _ in range(rounds)]
    return {name: median(row[name] for row in times) for name in thunks}


def check_seconds(seconds: float) -> None:
    """ValueError unless `seconds` is >= 0 and finite."""
    if not 0 <= seconds < math.inf:
        raise ValueError(f"expected seconds >= 0, got {seconds:g}")


def _round(thunks: Mapping[str, Thunk]) -> dict[str, float]:
    return {name: _elapsed(thunk) for name, thunk in thunks.items()}


def _elapsed(thunk: Thunk) -> float:
    thunk()
    start = time.perf_counter()
    thunk()
    return time.perf_counter() - start
