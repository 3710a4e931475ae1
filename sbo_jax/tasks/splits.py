"""Who is held out: the same samples for the same seed."""

import numpy as np

VALIDATION_FRACTION = 0.2


def stratified(labels: np.ndarray, held_out: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Kept and held-out indices; label k gives `held_out * n_k / n` samples, rounded.

    The rounding is by largest remainder, so that exactly `held_out` samples leave.
    Both index arrays are sorted: order carries no information.
    """
    rng = np.random.default_rng(seed)
    classes, counts = np.unique(labels, return_counts=True)
    taken = [
        rng.permutation(np.flatnonzero(labels == k))[:quota]
        for k, quota in zip(classes, _quotas(counts, held_out), strict=True)
    ]
    return _kept_and_held(len(labels), np.concatenate(taken))


def part(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Sorted indices of a stratified `fraction` of the samples, of every class one or more."""
    _, chosen = stratified(labels, round(fraction * len(labels)), seed)
    missing = np.setdiff1d(labels, labels[chosen])
    rng = np.random.default_rng(seed)
    rescued = [rng.choice(np.flatnonzero(labels == k)) for k in missing]
    return np.sort(np.concatenate([chosen, np.array(rescued, int)]))


def by_group(groups: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Kept and held-out indices; `fraction` of the groups (at least one) leave as a whole.

    A sample of a person seen in training is easier than one of a stranger, and the test
    has only strangers: a validation by group measures what the test will.
    """
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    leaving = names[: max(1, round(fraction * len(names)))]
    return _kept_and_held(len(groups), np.flatnonzero(np.isin(groups, leaving)))


def _quotas(counts: np.ndarray, total: int) -> np.ndarray:
    """Integers near `total * counts / sum(counts)` that sum to `total`."""
    exact = counts * (total / counts.sum())
    quotas = np.floor(exact).astype(int)
    short = total - int(quotas.sum())
    quotas[np.argsort(quotas - exact, kind="stable")[:short]] += 1
    return quotas


def _kept_and_held(size: int, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kept = np.ones(size, dtype=bool)
    kept[held] = False
    return np.flatnonzero(kept), np.flatnonzero(~kept)
