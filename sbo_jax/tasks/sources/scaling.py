"""Features centred and scaled by the statistics of training, and refused where rounding wins.

Statistics are those of `spread`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._types import DataError
from .spread import Spread

# A feature that takes fewer different values than this is what rounding left of it.
_FEWEST_STEPS = 4

# Errors a million times as small or as large as the variance are still normal numbers of float32.
_STD_OF_TARGETS = (1e-16, 1e16)


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
        if values.dtype.kind != "f" and not self.indicated:  # integers have no gaps
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


def fitted(found: Spread, features: Sequence[str] = ()) -> Scaler:
    """The scaler of training inputs that spread so; errors call `features` by name.

    Raises:
        DataError: a feature without values, or of which rounding leaves nothing.
    """
    check_spread(found, "feature", features)
    return Scaler(found.mean, found.std, tuple(np.flatnonzero(found.gaps).tolist()))


def fitted_to_targets(found: Spread) -> Scaler:
    """The scaler of numbers to predict that spread so; a gap is a step without them.

    Raises:
        DataError: a target without values, of which rounding leaves nothing, or in a unit in which
            no float32 is its squared error.
    """
    check_spread(found, "target")
    least, most = _STD_OF_TARGETS
    odd = (found.std < least) | (found.std > most)
    if odd.any():
        column = int(np.flatnonzero(odd)[0])
        raise DataError(
            f"expected targets of a standard deviation from {least:g} to {most:g}, since errors "
            f"are squared in float32, got {found.std[column]:.2g} for target {_name(column, ())}; "
            "choose another unit"
        )
    return Scaler(found.mean, found.std)


def check_spread(found: Spread, what: str, names: Sequence[str] = ()) -> None:
    """DataError for a column that varies, but hardly more than its type rounds.

    Integers are exact, at least until they are float64.
    """
    dtype, low, high = found.dtype, found.low, found.high
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


def check_scaled(
    scaler: Scaler, found: tuple[np.ndarray, np.ndarray], names: Sequence[str] = ()
) -> None:
    """DataError for a feature of these ends that float32 cannot hold once it is scaled."""
    with np.errstate(divide="ignore", over="ignore"):
        sizes = np.abs((np.stack(found) - scaler.mean) / scaler.std).max(axis=0)
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
