"""CIFAR-10 as a sequence of 1024 pixels of three colours, row by row."""

from .. import splits
from .._types import PathLike, Recipe, Task
from ..arrays import normalised
from ..raw.cifar10 import ORIGINAL, ExpectedCifar10


def pixel(
    seed: int,
    *,
    data_dir: PathLike | None = None,
    raw_dir: PathLike | None = None,
    expected: ExpectedCifar10 = ORIGINAL,
) -> Task:
    """T = 1024 steps of a red, a green and a blue; 40k train, 10k validation, 10k test.

    Each colour is normalised alone.
    """
    from ..builders import prepare
    from ..builders.cifar10 import SboCifar10

    builder = prepare.prepare(SboCifar10, data_dir, raw_dir, expected=expected)
    train, test = (prepare.arrays(builder, split) for split in ("train", "test"))
    images, labels = train["image"].reshape(-1, 1024, 3), train["label"]
    kept, held = splits.stratified(labels, round(splits.VALIDATION_FRACTION * len(labels)), seed)
    data = normalised(
        (images[kept], labels[kept]),
        (images[held], labels[held]),
        (test["image"].reshape(-1, 1024, 3), test["label"]),
    )
    return Task(
        name="pixel_cifar10",
        train=data.train,
        validation=data.validation,
        test=data.test,
        length=1024,
        in_features=3,
        out_features=10,
        metric="accuracy",
        epoch_size=len(data.train),
        recipe=Recipe(epochs=30, batch_size=128, upper_rate=4e-3),
        facts={"split_seed": seed, **data.facts()},
    )
