"""MNIST as records of raw pixels, in the order of the original files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ..raw import mnist as raw
from .download import fetch

_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"


class SboMnist(tfds.core.GeneratorBasedBuilder):
    """Images [28, 28] and labels, uint8, from downloads or from `raw_dir/mnist`.

    Downloads are held to the checksums beside this file; files in `raw_dir` to `expected`,
    which says what they must contain and not how they are compressed.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        *,
        raw_dir: Path | None = None,
        expected: raw.ExpectedMnist = raw.ORIGINAL,
        **kwargs: Any,
    ) -> None:
        self._raw_dir = raw_dir
        self._expected = expected
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        pixels = tfds.features.Tensor(
            shape=(28, 28), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
        )
        label = tfds.features.ClassLabel(num_classes=10)
        return tfds.core.DatasetInfo(
            builder=self,
            description="Handwritten digits, 28x28 pixels.",
            features=tfds.features.FeaturesDict({"image": pixels, "label": label}),
            disable_shuffling=True,
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        if self._raw_dir is None:
            paths = fetch(dl_manager, {file: _URL + file for file in self._expected.files()})
        else:
            paths = raw.find(self._raw_dir, self._expected)
        splits = raw.read(paths, self._expected)
        return {name: self._generate_examples(*arrays) for name, arrays in splits.items()}

    def _generate_examples(
        self, images: np.ndarray, labels: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for key, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield key, {"image": image, "label": int(label)}
