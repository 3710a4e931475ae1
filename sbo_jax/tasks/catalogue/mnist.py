"""MNIST as a sequence of 784 pixels, row by row or in one fixed random order."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._types import Recipe, Request, Task
from ..raw.mnist import ORIGINAL, ExpectedMnist
from ..sources.arrays import Samples, in_memory_task, stratified_validation
from .outline import outlined

_RECIPE = Recipe(epochs=16, batch_size=128, upper_rate=4e-3)

PERMUTATION_SEED = 12008
"""For NumPy's RandomState, as in the paper's release; other publications permute otherwise."""


def pixel(request: Request, expected: ExpectedMnist = ORIGINAL) -> Task:
    """Pixels row by row: T = 784 steps of one pixel; 48k train, 12k validation, 10k test."""
    return _task("pixel_mnist", request, expected, slice(None), {})


def permuted(request: Request, expected: ExpectedMnist = ORIGINAL) -> Task:
    """The same images; step t shows pixel `permutation()[t]`."""
    facts = {"permutation_seed": PERMUTATION_SEED}
    return _task("permuted_mnist", request, expected, permutation(), facts)


def pixel_outline(request: Request) -> Task:
    """Pixels row by row, without the data."""
    return _outline("pixel_mnist", request)


def permuted_outline(request: Request) -> Task:
    """Pixels in another order, without the data."""
    return _outline("permuted_mnist", request)


def _outline(name: str, request: Request) -> Task:
    (train, *_), (test, *_) = (part.images.shape for part in (ORIGINAL.train, ORIGINAL.test))
    sizes = {"train": train, "test": test, "length": 784, "in_features": 1, "out_features": 10}
    return outlined(name, request, **sizes, recipe=_RECIPE)


def permutation() -> np.ndarray:
    """The fixed order of the 784 pixels."""
    return np.random.RandomState(PERMUTATION_SEED).permutation(784)


def _task(
    name: str,
    request: Request,
    expected: ExpectedMnist,
    order: np.ndarray | slice,
    facts: Mapping[str, Any],
) -> Task:
    train, test = _images(request, expected, order)
    return in_memory_task(
        name,
        *stratified_validation(train, request.seed),
        test,
        request,
        out_features=10,
        recipe=_RECIPE,
        facts=facts,
    )


def _images(
    request: Request, expected: ExpectedMnist, order: np.ndarray | slice
) -> tuple[Samples, Samples]:
    """Pixels [N, 784, 1] uint8 in this order and labels [N], of training and test."""
    from ..builders.mnist import SboMnist
    from ..builders.records import prepared_splits

    splits = prepared_splits(SboMnist, request, expected)
    train, test = (
        (splits[name]["image"].reshape(-1, 784)[:, order, None], splits[name]["label"])
        for name in ("train", "test")
    )
    return train, test
