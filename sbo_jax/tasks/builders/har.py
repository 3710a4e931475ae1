"""UCI HAR's inertial signals as records."""

from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ..raw import har as raw
from .base import OriginalFilesBuilder


class SboUciHar(OriginalFilesBuilder):
    """Signals [128, 9] float32, activity and subject, from a download or `raw_dir/uci_har`."""

    VERSION = tfds.core.Version("1.0.0")
    reader = raw
    description = "Smartphone motion signals of six activities by thirty subjects."

    def _features(self) -> dict[str, Any]:
        signals = tfds.features.Tensor(
            shape=(raw.LENGTH, len(raw.SIGNALS)),
            dtype=np.float32,
            encoding=tfds.features.Encoding.BYTES,
        )
        activity = tfds.features.ClassLabel(names=raw.ACTIVITIES)
        return {"signals": signals, "activity": activity, "subject": np.int32}
