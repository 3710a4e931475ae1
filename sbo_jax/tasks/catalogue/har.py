"""HAR-2: is a smartphone's wearer in {sitting, laying, walking upstairs} or not?

The binary task of Kusupati et al. 2018 (FastGRNN) on UCI HAR (Anguita et al. 2013): 128 steps of
nine inertial signals. The authors' training and test subjects are disjoint, and so are those for
training and validation here.
"""

import dataclasses

import numpy as np

from .. import splits
from .._types import Recipe, Request, Task
from ..raw.har import ACTIVITIES, LENGTH, ORIGINAL, SIGNALS, ExpectedHar
from ..sources.arrays import Samples, in_memory_task
from .outline import outlined

POSITIVE = ("sitting", "laying", "upstairs")
_RECIPE = Recipe(epochs=30, batch_size=64, upper_rate=2e-3)


def load(request: Request, expected: ExpectedHar = ORIGINAL) -> Task:
    """HAR-2: 7,352 training windows less 4 of 21 subjects for validation, 2,947 test windows."""
    recordings = _recordings(request, expected)
    (signals, labels), subjects = _samples(recordings["train"]), recordings["train"]["subject"]
    kept, held = splits.by_group(subjects, splits.VALIDATION_FRACTION, request.seed)
    task = in_memory_task(
        "har2",
        (signals[kept], labels[kept]),
        (signals[held], labels[held]),
        _samples(recordings["test"]),
        request,
        out_features=2,
        recipe=_RECIPE,
        facts={"validation_subjects": np.unique(subjects[held]).tolist()},
    )
    return dataclasses.replace(task, test_groups=recordings["test"]["subject"])


def outline(request: Request) -> Task:
    """The task without its data; how many samples four subjects have, only the data say."""
    return outlined(
        "har2",
        request,
        train=sum(ORIGINAL.train_counts),
        test=sum(ORIGINAL.test_counts),
        length=LENGTH,
        in_features=len(SIGNALS),
        out_features=2,
        recipe=_RECIPE,
    )


def _recordings(request: Request, expected: ExpectedHar) -> dict[str, dict[str, np.ndarray]]:
    from ..builders.har import SboUciHar
    from ..builders.records import prepared_splits

    return prepared_splits(SboUciHar, request, expected)


def _samples(recordings: dict[str, np.ndarray]) -> Samples:
    """Signals, and as labels 1 for the activities of class 1, else 0."""
    positive = [ACTIVITIES.index(name) for name in POSITIVE]
    return recordings["signals"], np.isin(recordings["activity"], positive)
