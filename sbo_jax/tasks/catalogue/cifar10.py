"""CIFAR-10 as a sequence of 1024 pixels of three colours, row by row."""

from .._types import Recipe, Request, Task
from ..raw.cifar10 import ORIGINAL, ExpectedCifar10
from ..sources.arrays import Samples, in_memory_task, stratified_validation
from .outline import outlined

_RECIPE = Recipe(epochs=30, batch_size=128, upper_rate=4e-3)


def pixel(request: Request, expected: ExpectedCifar10 = ORIGINAL) -> Task:
    """T = 1024 steps of a red, a green and a blue; 40k train, 10k validation, 10k test.

    Each colour is normalised alone.
    """
    train, test = _images(request, expected)
    return in_memory_task(
        "pixel_cifar10",
        *stratified_validation(train, request.seed),
        test,
        request,
        out_features=10,
        recipe=_RECIPE,
    )


def outline(request: Request) -> Task:
    """The task without its data."""
    return outlined(
        "pixel_cifar10",
        request,
        train=sum(ORIGINAL.train_counts),
        test=sum(ORIGINAL.test_counts),
        length=1024,
        in_features=3,
        out_features=10,
        recipe=_RECIPE,
    )


def _images(request: Request, expected: ExpectedCifar10) -> tuple[Samples, Samples]:
    """Pixels [N, 1024, 3] uint8 and labels [N], of training and test."""
    from ..builders.cifar10 import SboCifar10
    from ..builders.records import prepared_splits

    splits = prepared_splits(SboCifar10, request, expected)
    train, test = (
        (splits[name]["image"].reshape(-1, 1024, 3), splits[name]["label"])
        for name in ("train", "test")
    )
    return train, test
