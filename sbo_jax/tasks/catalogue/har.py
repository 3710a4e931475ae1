"""HAR-2: is a smartphone's wearer in {sitting, laying, walking upstairs} or not?

The binary task of Kusupati et al. 2018 (FastGRNN) on UCI HAR (Anguita et al. 2013): 128
steps of nine inertial signals. Train and test subjects are disjoint by origin, and so are
train and validation here.
"""

import numpy as np

from .. import splits
from .._types import PathLike, Recipe, Task
from ..arrays import normalised
from ..raw.har import ACTIVITIES, LENGTH, ORIGINAL, SIGNALS, ExpectedHar

POSITIVE = ("sitting", "laying", "upstairs")


def load(
    seed: int,
    *,
    data_dir: PathLike | None = None,
    raw_dir: PathLike | None = None,
    expected: ExpectedHar = ORIGINAL,
) -> Task:
    """HAR-2: 7,352 training windows less 4 of 21 subjects for validation, 2,947 test windows."""
    recordings = _recordings(data_dir, raw_dir, expected)
    train, test = recordings["train"], recordings["test"]
    signals, labels, subjects = train["signals"], _binary(train["activity"]), train["subject"]
    kept, held = splits.by_group(subjects, splits.VALIDATION_FRACTION, seed)
    data = normalised(
        (signals[kept], labels[kept]),
        (signals[held], labels[held]),
        (test["signals"], _binary(test["activity"])),
    )
    return Task(
        name="har2",
        train=data.train,
        validation=data.validation,
        test=data.test,
        length=LENGTH,
        in_features=len(SIGNALS),
        out_features=2,
        metric="accuracy",
        epoch_size=len(data.train),
        recipe=Recipe(epochs=30, batch_size=64, upper_rate=2e-3),
        facts={
            "split_seed": seed,
            "validation_subjects": np.unique(subjects[held]).tolist(),
            **data.facts(),
        },
    )


def _recordings(
    data_dir: PathLike | None, raw_dir: PathLike | None, expected: ExpectedHar
) -> dict[str, dict[str, np.ndarray]]:
    from ..builders import prepare
    from ..builders.har import SboUciHar

    builder = prepare.prepare(SboUciHar, data_dir, raw_dir, expected=expected)
    return {split: prepare.arrays(builder, split) for split in ("train", "test")}


def _binary(activities: np.ndarray) -> np.ndarray:
    """1 for the activities of class 1, else 0."""
    return np.isin(activities, [ACTIVITIES.index(name) for name in POSITIVE])
