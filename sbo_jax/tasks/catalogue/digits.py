"""Scikit-learn's bundled 8x8 digits, pixel by pixel: a minute's task without a download."""

import numpy as np

from .. import splits
from .._types import DataError, Recipe, Task
from ..arrays import normalised

_TEST_SIZE = 360
# fixed, so that the test set is the same whatever the split seed
_TEST_SEED = 0


def load(seed: int) -> Task:
    """1797 images as T = 64 steps of one pixel; 1150 train, 287 validation, 360 test."""
    images, labels = _images()
    rest, test = splits.stratified(labels, _TEST_SIZE, _TEST_SEED)
    held_out = round(splits.VALIDATION_FRACTION * len(rest))
    kept, held = splits.stratified(labels[rest], held_out, seed)
    train, validation = rest[kept], rest[held]
    data = normalised(*((images[i], labels[i]) for i in (train, validation, test)))
    return Task(
        name="digits",
        train=data.train,
        validation=data.validation,
        test=data.test,
        length=64,
        in_features=1,
        out_features=10,
        metric="accuracy",
        epoch_size=len(data.train),
        recipe=Recipe(epochs=160, batch_size=64, upper_rate=1e-2),
        facts={"split_seed": seed, "test_seed": _TEST_SEED, **data.facts()},
    )


def _images() -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as fault:
        raise DataError(
            "expected scikit-learn, which bundles the digits, but it is not installed; "
            "try pip install 'sbo_jax[scripts]'"
        ) from fault
    bundle = load_digits()
    return bundle.data.astype(np.uint8)[:, :, None], bundle.target
