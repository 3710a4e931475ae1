"""MNIST as a sequence of 784 pixels, row by row or in one fixed random order."""

from typing import Any

import numpy as np

from .. import splits
from .._types import PathLike, Recipe, Task
from ..arrays import normalised
from ..raw.mnist import ORIGINAL, ExpectedMnist

PERMUTATION_SEED = 12008
"""Of NumPy's RandomState, as in the paper's release; other publications permute otherwise."""


def pixel(
    seed: int,
    *,
    data_dir: PathLike | None = None,
    raw_dir: PathLike | None = None,
    expected: ExpectedMnist = ORIGINAL,
) -> Task:
    """Pixels row by row: T = 784 steps of one pixel; 48k train, 12k validation, 10k test."""
    images = _images(data_dir, raw_dir, expected)
    return _task("pixel_mnist", seed, images, {})


def permuted(
    seed: int,
    *,
    data_dir: PathLike | None = None,
    raw_dir: PathLike | None = None,
    expected: ExpectedMnist = ORIGINAL,
) -> Task:
    """The same with step t showing pixel `permutation()[t]`."""
    order = permutation()
    images = {
        split: (pixels[:, order], labels)
        for split, (pixels, labels) in _images(data_dir, raw_dir, expected).items()
    }
    return _task("permuted_mnist", seed, images, {"permutation_seed": PERMUTATION_SEED})


def permutation() -> np.ndarray:
    """The fixed order of the 784 pixels."""
    return np.random.RandomState(PERMUTATION_SEED).permutation(784)


def _images(
    data_dir: PathLike | None, raw_dir: PathLike | None, expected: ExpectedMnist
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(pixels [N, 784] uint8, labels [N]) of "train" and "test"."""
    from ..builders import prepare
    from ..builders.mnist import SboMnist

    builder = prepare.prepare(SboMnist, data_dir, raw_dir, expected=expected)
    data = {split: prepare.arrays(builder, split) for split in ("train", "test")}
    return {
        split: (arrays["image"].reshape(-1, 784), arrays["label"]) for split, arrays in data.items()
    }


def _task(
    name: str,
    seed: int,
    images: dict[str, tuple[np.ndarray, np.ndarray]],
    facts: dict[str, Any],
) -> Task:
    sequences = {split: (pixels[:, :, None], labels) for split, (pixels, labels) in images.items()}
    inputs, labels = sequences["train"]
    held_out = round(splits.VALIDATION_FRACTION * len(labels))
    kept, held = splits.stratified(labels, held_out, seed)
    data = normalised((inputs[kept], labels[kept]), (inputs[held], labels[held]), sequences["test"])
    return Task(
        name=name,
        train=data.train,
        validation=data.validation,
        test=data.test,
        length=784,
        in_features=1,
        out_features=10,
        metric="accuracy",
        epoch_size=len(data.train),
        recipe=Recipe(epochs=16, batch_size=128, upper_rate=4e-3),
        facts={"split_seed": seed, **facts, **data.facts()},
    )
