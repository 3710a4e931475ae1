"""Images read row by row, then noise: remember what was seen long ago.

The image takes the first 28 or 32 steps, N(0, 1) noise the others up to T = 1000. As the code of
coRNN and LipschitzRNN has it, there is one draw of the noise: every sample, of training and of
test, ends in the same one.
"""

from dataclasses import dataclass, replace

import numpy as np

from .._types import Source, Task

LENGTH = 1000
NOISE_SEED = 0
"""Fixed, so that the task is the same whatever the split seed."""


@dataclass(frozen=True, eq=False)
class NoisySource:
    """The pixels of another source as rows, with the noise behind them; padded when fetched.

    Attributes:
        pixels: gives inputs [B, rows * columns, colours].
        noise: [T - rows, columns * colours] float32.
    """

    pixels: Source
    noise: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)

    def fetch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs [B, T, columns * colours] float32 and targets [B] int32."""
        pixels, targets = self.pixels.fetch(indices)
        rows = LENGTH - len(self.noise)
        inputs = np.empty((len(pixels), LENGTH, self.noise.shape[1]), np.float32)
        inputs[:, :rows] = pixels.reshape(len(pixels), rows, -1)
        inputs[:, rows:] = self.noise
        return inputs, targets


def noisy(task: Task, name: str) -> Task:
    """The task of that name, from one that shows square images pixel by pixel."""
    rows = round(task.length**0.5)
    features = rows * task.in_features
    rng = np.random.default_rng(NOISE_SEED)
    noise = rng.standard_normal((LENGTH - rows, features), np.float32)
    return replace(
        task,
        name=name,
        train=NoisySource(task.train, noise),
        validation=NoisySource(task.validation, noise),
        test=NoisySource(task.test, noise),
        length=LENGTH,
        in_features=features,
        facts={**task.facts, "noise_seed": NOISE_SEED},
    )
