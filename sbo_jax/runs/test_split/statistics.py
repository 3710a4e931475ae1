"""Metrics as functions of how often every unit was drawn, for many draws at once.

Almost all are functions of sums over units: a draw is then one row of a matrix product.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from .answers import Answers

Statistic: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""How often each unit was drawn [R, U] -> the metric [R], NaN where it is not defined."""

# Beyond so many probabilities, sorted and added up for every draw, an area takes a minute or more.
_MOST_PROBABILITIES = 500_000


def statistics(answers: Answers) -> Mapping[str, Statistic]:
    """The metric and the scores beside it, by the names that summary.json has for them."""
    if answers.metric == "perplexity":
        return {"perplexity": _ratio(answers, answers.outputs, answers.targets, np.exp)}
    return _of_classes(answers) if answers.metric == "accuracy" else _of_numbers(answers)


def _of_classes(answers: Answers) -> dict[str, Statistic]:
    labels, probabilities = answers.targets, answers.outputs
    found = probabilities.argmax(axis=-1)
    known: dict[str, Statistic] = {
        "accuracy": _ratio(answers, found == labels, np.ones(len(labels))),
        **_of_each_class(answers, found),
    }
    if probabilities.size <= _MOST_PROBABILITIES:
        known["auroc"] = _area(answers)
    return known


def _of_each_class(answers: Answers, found: np.ndarray) -> dict[str, Statistic]:
    """Macro averages: over the classes that the drawn samples have, F1 also over those answered."""
    labels, num_classes = answers.targets, answers.outputs.shape[-1]
    hits = _per_unit(answers, _one_hot(labels, num_classes) * (found == labels)[:, None])
    true = _per_unit(answers, _one_hot(labels, num_classes))
    answered = _per_unit(answers, _one_hot(found, num_classes))

    def balanced_accuracy(drawn: np.ndarray) -> np.ndarray:
        return _mean_of_defined(drawn @ hits, drawn @ true)

    def macro_f1(drawn: np.ndarray) -> np.ndarray:
        return _mean_of_defined(2 * (drawn @ hits), drawn @ true + drawn @ answered)

    return {"balanced_accuracy": balanced_accuracy, "macro_f1": macro_f1}


def _of_numbers(answers: Answers) -> dict[str, Statistic]:
    targets, count = answers.targets, np.ones(len(answers.targets))
    errors, centred = answers.outputs - targets, targets - targets.mean(axis=0)
    sums = [_per_unit(answers, values) for values in (errors**2, centred**2, centred)]
    counts = _per_unit(answers, count[:, None])

    def r2(drawn: np.ndarray) -> np.ndarray:
        squares, total, first = (drawn @ each for each in sums)
        spread = total - first**2 / (drawn @ counts)
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = 1 - squares / np.where(spread > 1e-12 * total, spread, np.nan)
        return shares.mean(axis=-1)

    return {
        "mse": _ratio(answers, (errors**2).mean(axis=-1), count),
        "mae": _ratio(answers, np.abs(errors).mean(axis=-1), count),
        "r2": r2,
    }


def _ratio(
    answers: Answers,
    values: np.ndarray,
    counts: np.ndarray,
    reported: Callable[[np.ndarray], np.ndarray] = lambda mean: mean,
) -> Statistic:
    """What is reported of the sum of values over that of counts."""
    above, below = (_per_unit(answers, each[:, None])[:, 0] for each in (values, counts))
    return lambda drawn: reported((drawn @ above) / (drawn @ below))


def _area(answers: Answers) -> Statistic:
    """One class against the others, averaged over classes; of two classes, the second."""
    labels, probabilities = answers.targets, answers.outputs
    num_classes = probabilities.shape[-1]
    classes = [1] if num_classes == 2 else range(num_classes)
    sorted_by = {k: _Ranking(probabilities[:, k], labels == k) for k in classes}

    def area(drawn: np.ndarray) -> np.ndarray:
        weights = drawn[:, answers.units]
        return np.mean([ranking.areas(weights) for ranking in sorted_by.values()], axis=0)

    return area


class _Ranking:
    """Samples in the order of a probability, equal ones together."""

    def __init__(self, values: np.ndarray, positive: np.ndarray):
        self._order = np.argsort(values, kind="stable")
        in_order = values[self._order]
        self._positive = positive[self._order]
        self._starts = np.flatnonzero(np.diff(in_order, prepend=-np.inf))

    def areas(self, weights: np.ndarray) -> np.ndarray:
        """[R]: the share of pairs that are in order, ties counted half; weights [R, N]."""
        weights = weights[:, self._order]
        above, below = (weights * each for each in (self._positive, ~self._positive))
        if len(self._starts) < len(self._order):  # there are ties
            above, below = (np.add.reduceat(x, self._starts, axis=-1) for x in (above, below))
        lower = np.cumsum(below, axis=-1) - below / 2
        pairs = above.sum(axis=-1) * below.sum(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(pairs > 0, np.sum(above * lower, axis=-1) / pairs, np.nan)


def _per_unit(answers: Answers, values: np.ndarray) -> np.ndarray:
    """[U, k]: the sums over the answers of every unit; values [N, k]."""
    order = np.argsort(answers.units, kind="stable")
    units = answers.units[order]
    starts = np.flatnonzero(np.diff(units, prepend=-1))
    sums = np.zeros((answers.num_units, values.shape[1]))
    sums[units[starts]] = np.add.reduceat(values[order].astype(np.float64), starts)
    return sums


def _one_hot(labels: np.ndarray, num_classes: int) -> np.ndarray:
    return labels[:, None] == np.arange(num_classes)


def _mean_of_defined(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """[R]: the mean over classes of the ratios that are not 0 / 0."""
    ratios = above / np.where(below > 0, below, np.nan)
    return np.nanmean(ratios, axis=-1)
