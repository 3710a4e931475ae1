"""Tasks without their data, for programs that are compiled and not run: all samples are zeros."""

from dataclasses import dataclass

import numpy as np

from .. import splits
from .._types import Recipe, Request, Task


@dataclass(frozen=True)
class BlankSource:
    """`count` samples: inputs [T, d] of zeros, class 0."""

    count: int
    length: int
    in_features: int

    def __len__(self) -> int:
        return self.count

    def fetch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs [B, T, d] float32 and targets [B] int32."""
        shape = len(indices), self.length, self.in_features
        return np.zeros(shape, np.float32), np.zeros(len(indices), np.int32)


def outlined(
    name: str,
    request: Request,
    *,
    train: int,
    test: int,
    length: int,
    in_features: int,
    out_features: int,
    recipe: Recipe,
) -> Task:
    """The outline of a task of classes; a fifth of the `train` samples are for validation."""
    held_out = round(splits.VALIDATION_FRACTION * train)
    fraction = request.train_fraction
    kept = max(1, round((train - held_out) * (1.0 if fraction is None else fraction)))
    return Task(
        name=name,
        train=BlankSource(kept, length, in_features),
        validation=BlankSource(held_out, length, in_features),
        test=BlankSource(test, length, in_features),
        length=length,
        in_features=in_features,
        out_features=out_features,
        metric="accuracy",
        epoch_size=kept,
        recipe=recipe,
        facts={} if fraction is None else {"train_fraction": fraction},
    )
