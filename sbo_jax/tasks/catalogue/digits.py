"""Scikit-learn's bundled 8x8 digits, pixel by pixel: a minute's task without a download."""

from .. import splits
from .._types import Recipe, Request, Task
from ..sources.arrays import Samples, in_memory_task, stratified_validation

_TEST_SIZE = 360
# fixed, so that the test set is the same whatever the split seed
_TEST_SEED = 0
# Average and smoothing are the best of those compared on validation: docs/results/README.md.
_RECIPE = Recipe(epochs=160, batch_size=64, upper_rate=1e-2, average=0.99, label_smoothing=0.1)


def load(request: Request) -> Task:
    """1797 images as T = 64 steps of one pixel; 1150 train, 287 validation, 360 test."""
    images, labels = _images()
    rest, test = splits.stratified(labels, _TEST_SIZE, _TEST_SEED)
    return in_memory_task(
        "digits",
        *stratified_validation((images[rest], labels[rest]), request.seed),
        (images[test], labels[test]),
        request,
        out_features=10,
        recipe=_RECIPE,
        facts={"test_seed": _TEST_SEED},
    )


def _images() -> Samples:
    from sklearn.datasets import load_digits

    bundle = load_digits()
    return bundle.data.astype("uint8")[:, :, None], bundle.target
