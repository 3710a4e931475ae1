"""What `fit` and `predict` are given, made sequences.

[N, T, d]       N sequences of T steps and d features
[N, T]          N series of T steps and one feature, a table to scikit-learn
N arrays        sequences of unequal lengths, [T_i, d] each, or [T_i] of one feature
"""

from typing import Any, get_args

import numpy as np

from ..tasks.own.in_memory import as_array, as_sequences
from ..tasks.own.keys import Missing
from ..tasks.sources.ragged import Ragged


def is_table(X: Any) -> bool:
    """Whether scikit-learn can check X, and should: it is no sequences of features yet."""
    if isinstance(X, list | tuple):
        return not _are_sequences(X)
    return getattr(X, "ndim", 2) < 3 and not _holds_arrays(X)


def of_table(table: np.ndarray) -> Ragged:
    """Series of one feature, [N, T]."""
    return as_sequences(table[..., None])


def of_many(X: Any) -> Ragged:
    """What is no table; DataError for what is no sequences either."""
    if isinstance(X, list | tuple) or _holds_arrays(X):
        arrays = [as_array(each) for each in X]
        return as_sequences([each[:, None] if each.ndim == 1 else each for each in arrays])
    return as_sequences(X)


def check_missing(missing: Any) -> None:
    """ValueError for what is no way to treat gaps."""
    if not isinstance(missing, str) or missing not in get_args(Missing):
        raise ValueError(f"expected missing as refuse, carry or mask, got {missing!r}; try carry")


def check_finite(X: Ragged, missing: str) -> None:
    """ValueError for infinite numbers, and for NaN where gaps are refused."""
    if X.values.dtype.kind != "f":
        return
    if np.isinf(X.values).any():
        raise ValueError("expected finite numbers in X, got inf")
    if missing == "refuse" and np.isnan(X.values).any():
        raise ValueError('expected numbers in X, got NaN; try missing="carry" or missing="mask"')


def _are_sequences(X: list[Any] | tuple[Any, ...]) -> bool:
    """Whether these are arrays [T_i, d], or series [T_i] whose lengths differ."""
    shapes = [np.shape(each) for each in X]
    if not shapes or min(map(len, shapes)) == 0:
        return False
    return max(map(len, shapes)) > 1 or len(set(shapes)) > 1


def _holds_arrays(X: Any) -> bool:
    """Whether X is an array of arrays, as NumPy has of what is no list."""
    is_vector = isinstance(X, np.ndarray) and X.ndim == 1 and X.dtype == object
    return bool(is_vector and len(X) and np.ndim(X[0]))


def of_channels(X: Any) -> np.ndarray | list[np.ndarray]:
    """Sequences in aeon's layout, [N, d, T] or N arrays [d, T_i], in that of this library."""
    if isinstance(X, np.ndarray):
        return X.swapaxes(1, 2)
    return [each.T for each in X]
