"""CIFAR-10 as records of raw pixels, in the order of the original files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ..raw import cifar10 as raw
from .download import fetch

_URL = "https://www.cs.toronto.edu/~kriz/" + raw.ARCHIVE


class SboCifar10(tfds.core.GeneratorBasedBuilder):
    """Images [32, 32, 3] and labels, uint8, from a download or from `raw_dir/cifar10`.

    A download is held to the checksum beside this file (TFDS's own); an archive in `raw_dir` to
    `expected`, which says what it must contain and not how it is compressed.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        *,
        raw_dir: Path | None = None,
        expected: raw.ExpectedCifar10 = raw.ORIGINAL,
        **kwargs: Any,
    ) -> None:
        self._raw_dir = raw_dir
        self._expected = expected
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        pixels = tfds.features.Tensor(
            shape=(32, 32, 3), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
        )
        label = tfds.features.ClassLabel(names=raw.CLASSES)
        return tfds.core.DatasetInfo(
            builder=self,
            description="Colour photographs of ten kinds of thing, 32x32 pixels.",
            features=tfds.features.FeaturesDict({"image": pixels, "label": label}),
            disable_shuffling=True,
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        if self._raw_dir is None:
            path = fetch(dl_manager, {raw.ARCHIVE: _URL})[raw.ARCHIVE]
        else:
            path = raw.find(self._raw_dir)
        splits = raw.read(path, self._expected)
        return {name: self._generate_examples(*arrays) for name, arrays in splits.items()}

    def _generate_examples(
        self, images: np.ndarray, labels: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for key, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield key, {"image": image, "label": int(label)}
