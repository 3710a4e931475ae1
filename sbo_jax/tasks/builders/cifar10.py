"""CIFAR-10 as records of raw pixels."""

from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ..raw import cifar10 as raw
from .base import OriginalFilesBuilder


class SboCifar10(OriginalFilesBuilder):
    """Images [32, 32, 3] and labels, uint8, from a download or from `raw_dir/cifar10`."""

    VERSION = tfds.core.Version("1.0.0")
    reader = raw
    description = "Colour photographs of ten kinds of thing, 32x32 pixels."

    def _features(self) -> dict[str, Any]:
        pixels = tfds.features.Tensor(
            shape=(32, 32, 3), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
        )
        return {"image": pixels, "label": tfds.features.ClassLabel(names=raw.CLASSES)}
