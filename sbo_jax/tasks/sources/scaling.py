"""Features centred and scaled by the statistics of training, and refused where rounding wins.

Statistics are computed in float64, block by block: a float64 copy of the MNIST images would take
300 MB.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .._types import DataError

# A feature that takes fewer different values than this is what rounding left of it.
_FEWEST_STEPS = 4
# The numbers of a row that NumPy reduces many of.
_WIDE = 512


@dataclass(frozen=True, eq=False)
class Scaler:
    """``(values - mean) / std``, 0 for gaps, and for some features an indicator of them.

    Computed in float64, then cast: the float32 of a time in seconds is off by a minute. A byte is
    exact in float32, which is faster for images.

    Attributes:
        mean: [d] float64.
        std: [d] float64, positive.
        indicated: the features that are followed by an indicator: 1 where they are missing.
    """

    mean: np.ndarray
    std: np.ndarray
    indicated: tuple[int, ...] = ()

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Scaled values [..., d + indicators] float32, of values [..., d] with NaN for a gap."""
        exact = np.float32 if values.dtype.itemsize == 1 else np.float64
        scaled = np.subtract(values, self.mean.astype(exact, copy=False), dtype=exact)
        np.divide(scaled, self.std.astype(exact, copy=False), out=scaled)
        scaled = scaled.astype(np.float32, copy=False)
        if values.dtype.kind != "f":
            return scaled
        missing = np.isnan(scaled)
        scaled[missing] = 0
        if not self.indicated:
            return scaled
        indicators = missing[..., list(self.indicated)].astype(np.float32)
        return np.concatenate([scaled, indicators], axis=-1)

    @property
    def num_features(self) -> int:
        """Of what it returns."""
        return len(self.mean) + len(self.indicated)


def pieces(inputs: np.ndarray) -> list[np.ndarray]:
    """Inputs [N, ...] in at most 64 blocks of samples, which are views."""
    return np.array_split(inputs, min(64, len(inputs)))


def fitted(blocks: Iterable[np.ndarray], features: Sequence[str] = ()) -> Scaler:
    """The scaler of training inputs; errors call `features` by name.

    Args:
        blocks: the training inputs in pieces [..., d], several times over if asked; NaN is a gap.
        features: their names, if they have any.

    Raises:
        DataError: a feature without values, or of which rounding leaves nothing.
    """
    check_spread(blocks, "feature", features)
    gaps = sum(_gaps(block) for block in blocks)
    return Scaler(*moments(blocks), tuple(np.flatnonzero(gaps).tolist()))


def fitted_to_targets(blocks: Iterable[np.ndarray]) -> Scaler:
    """The scaler of numbers to predict, in pieces [..., k]; NaN is a step without them.

    Raises:
        DataError: a target without values, or of which rounding leaves nothing.
    """
    check_spread(blocks, "target")
    return Scaler(*moments(blocks))


def moments(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per feature, [d] float64 each, of blocks [..., d]; NaN is a gap.

    A constant feature gets std 1, so that it becomes zero and not NaN.
    """
    count = sum(block[..., 0].size - _gaps(block) for block in blocks)
    mean = _sum(blocks) / count
    squares, rest = 0, 0
    for block in blocks:
        centred = np.nan_to_num(block - mean, copy=False, posinf=np.inf, neginf=-np.inf)
        squares += np.square(centred).sum(_over_samples(block))
        rest += centred.sum(_over_samples(block))
    # the sum of large numbers was rounded, that of what is left of them is not
    mean = mean + rest / count
    low, high = _range(blocks)
    constant = low == high
    return np.where(constant, low, mean), np.where(constant, 1, np.sqrt(squares / count))


def check_spread(blocks: Iterable[np.ndarray], what: str, names: Sequence[str] = ()) -> None:
    """DataError for a column of blocks [..., d] that varies, but hardly more than its type rounds.

    Integers are exact, at least until they are float64.
    """
    dtype = next(iter(blocks)).dtype
    low, high = _range(blocks)
    if (empty := np.isnan(low)).any():
        column = int(np.flatnonzero(empty)[0])
        raise DataError(
            f"expected {what}s with values in training, got none of {what} {_name(column, names)}; "
            "leave it out"
        )
    kept = dtype if dtype.kind == "f" else np.dtype(np.float64)
    step = np.spacing(np.maximum(np.abs(low), np.abs(high)).astype(kept)).astype(np.float64)
    lost = (low < high) & (high - low < _FEWEST_STEPS * step)
    if lost.any():
        column = int(np.flatnonzero(lost)[0])
        raise DataError(
            f"expected {what}s that vary by more than rounding, got {what} "
            f"{_name(column, names)} from {low[column]!s} to {high[column]!s}, where {kept} has "
            f"steps of {step[column]:.2g}; take an offset off, choose another unit, or leave it out"
        )


def check_scaled(scaler: Scaler, blocks: Iterable[np.ndarray], names: Sequence[str] = ()) -> None:
    """DataError for a feature that float32 cannot hold once it is scaled."""
    with np.errstate(divide="ignore", over="ignore"):
        sizes = np.abs((np.stack(_range(blocks)) - scaler.mean) / scaler.std).max(axis=0)
    if (sizes > np.finfo(np.float32).max).any():
        feature = int(np.nanargmax(sizes))
        raise DataError(
            f"expected features within the range of float32 once scaled, got feature "
            f"{_name(feature, names)} with a standard deviation of {scaler.std[feature]:.2g} in "
            f"training and a value {sizes[feature]:.2g} times as far from the mean; look for a "
            f"wrong value"
        )


def facts(scaler: Scaler, prefix: str = "") -> dict[str, list[float]]:
    """What config.json keeps, JSON-serialisable."""
    kept = {f"{prefix}mean": scaler.mean.tolist(), f"{prefix}std": scaler.std.tolist()}
    return kept | ({"indicated": list(scaler.indicated)} if scaler.indicated else {})


def _name(column: int, names: Sequence[str]) -> str:
    return f"{column} ({names[column]!r})" if names else f"{column} (counted from 0)"


def _over_samples(block: np.ndarray) -> tuple[int, ...]:
    """All axes but that of the features."""
    return tuple(range(block.ndim - 1))


def _gaps(block: np.ndarray) -> np.ndarray:
    """The number of gaps of every feature, [d]."""
    return _over_wide(lambda rows: np.isnan(rows).sum(axis=0), np.sum, block)


def _over_wide(
    one: Callable[[np.ndarray], np.ndarray], other: Callable[..., np.ndarray], block: np.ndarray
) -> np.ndarray:
    """What `one` is of the samples of a block [..., d], and `other` of such results, [d].

    Of many samples in a row: NumPy is ten times slower where it has to stop after d numbers.
    """
    samples = block.reshape(-1, block.shape[-1])
    width = max(1, _WIDE // samples.shape[1])
    whole = len(samples) // width * width
    results = [one(samples[whole:])] if whole < len(samples) else []
    if whole:
        wide = one(samples[:whole].reshape(-1, width * samples.shape[1]))
        results.append(other(wide.reshape(width, -1), axis=0))
    return other(np.stack(results), axis=0)


def _sum(blocks: Iterable[np.ndarray]) -> np.ndarray:
    sums = [np.nansum(block, _over_samples(block), np.float64) for block in blocks]
    return np.asarray(sum(sums))


def _range(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest value of every feature, [d] float64 each; NaN without any."""
    ends = [
        tuple(_over_wide(end.reduce, end.reduce, block) for end in (np.fmin, np.fmax))
        for block in blocks
    ]
    low, high = zip(*ends, strict=True)
    return np.fmin.reduce(low).astype(np.float64), np.fmax.reduce(high).astype(np.float64)
