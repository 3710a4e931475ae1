"""Images read row by row, then noise: remember what was seen long ago.

The image takes the first 28 or 32 steps, N(0, 1) noise the remaining ones up to T = 1000. The noise
is drawn once, as in the code of coRNN and LipschitzRNN: every sample ends in the same noise, in
training and in test.
"""

from dataclasses import dataclass, replace

import numpy as np

from .._types import Request, Source, Task
from . import cifar10, mnist

LENGTH = 1000
NOISE_SEED = 0
"""Fixed, so that the task is the same whatever the split seed."""


@dataclass(frozen=True, eq=False)
class NoisySource:
    """The pixels of another source as rows, followed by the noise, which is added when fetched.

    Attributes:
        pixels: source of inputs [B, rows * columns, colours].
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


def noisy_mnist(request: Request) -> Task:
    """28 rows of 28 pixels, then 972 steps of noise."""
    return with_noise(mnist.pixel(request), "noisy_mnist")


def noisy_cifar10(request: Request) -> Task:
    """32 rows of 32 pixels of three colours, then 968 steps of noise."""
    return with_noise(cifar10.pixel(request), "noisy_cifar10")


def noisy_mnist_outline(request: Request) -> Task:
    """28 rows of 28 pixels, then noise, without the data."""
    return with_noise(mnist.pixel_outline(request), "noisy_mnist")


def noisy_cifar10_outline(request: Request) -> Task:
    """32 rows of 32 pixels of three colours, then noise, without the data."""
    return with_noise(cifar10.outline(request), "noisy_cifar10")


def with_noise(task: Task, name: str) -> Task:
    """A task of this name, from one that shows square images pixel by pixel."""
    rows = round(task.length**0.5)
    features = rows * task.in_features
    rng = np.random.default_rng(NOISE_SEED)
    noise = rng.standard_normal((LENGTH - rows, features), np.float32)
    # new data come scaled, as the noise is: the moments are those of pixels, and not of features
    facts = {f"pixel_{n}" if n in ("mean", "std") else n: fact for n, fact in task.facts.items()}
    return replace(
        task,
        name=name,
        train=NoisySource(task.train, noise),
        validation=NoisySource(task.validation, noise),
        test=NoisySource(task.test, noise),
        length=LENGTH,
        in_features=features,
        facts={**facts, "noise_seed": NOISE_SEED},
    )
