"""Which samples are held out: the same ones for the same seed."""

import numpy as np

VALIDATION_FRACTION = 0.2


def stratified(labels: np.ndarray, held_out: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Kept and held-out indices; label k gives `held_out * n_k / n` samples, rounded.

    Rounding is by largest remainder, so that exactly `held_out` samples are held out. Both index
    arrays are sorted: their order carries no information.
    """
    rng = np.random.default_rng(seed)
    classes, counts = np.unique(labels, return_counts=True)
    taken = [
        rng.permutation(np.flatnonzero(labels == k))[:quota]
        for k, quota in zip(classes, _quotas(counts, held_out), strict=True)
    ]
    return _kept_and_held(len(labels), np.concatenate(taken))


def part(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Sorted indices of a stratified `fraction` of the samples, at least one of every class."""
    _, chosen = stratified(labels, round(fraction * len(labels)), seed)
    missing = np.setdiff1d(labels, labels[chosen])
    rng = np.random.default_rng(seed)
    rescued = [rng.choice(np.flatnonzero(labels == k)) for k in missing]
    return np.sort(np.concatenate([chosen, np.array(rescued, int)]))


def part_of(targets: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """As `part`, for targets of any kind: numbers to predict are all of one class."""
    is_label = targets.ndim == 1 and not np.issubdtype(targets.dtype, np.floating)
    return part(targets if is_label else np.zeros(len(targets)), fraction, seed)


def by_group(groups: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Kept and held-out indices; a `fraction` of the groups (at least one) is held out whole.

    Samples of people seen in training are easier than those of strangers, and the test has only
    strangers: validation by group measures what the test measures.
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
