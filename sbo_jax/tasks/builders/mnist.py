"""MNIST as records of raw pixels."""

from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ..raw import mnist as raw
from .base import OriginalFilesBuilder


class SboMnist(OriginalFilesBuilder):
    """Images [28, 28] and labels, uint8, from downloads or from `raw_dir/mnist`."""

    VERSION = tfds.core.Version("1.0.0")
    reader = raw
    description = "Handwritten digits, 28x28 pixels."

    def _features(self) -> dict[str, Any]:
        pixels = tfds.features.Tensor(
            shape=(28, 28), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
        )
        return {"image": pixels, "label": tfds.features.ClassLabel(num_classes=10)}
