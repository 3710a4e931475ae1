"""UCI HAR's inertial signals as records, in the order of the original files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ..raw import har as raw
from .download import fetch

_URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/00240/UCI%20HAR%20Dataset.zip"


class SboUciHar(tfds.core.GeneratorBasedBuilder):
    """Signals [128, 9] float32, activity and subject, from a download or `raw_dir/uci_har`.

    A download is held to the checksum beside this file; what lies in `raw_dir` (the archive
    or its unpacked folder) to `expected`, which says what it must contain.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        *,
        raw_dir: Path | None = None,
        expected: raw.ExpectedHar = raw.ORIGINAL,
        **kwargs: Any,
    ) -> None:
        self._raw_dir = raw_dir
        self._expected = expected
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        signals = tfds.features.Tensor(
            shape=(raw.LENGTH, len(raw.SIGNALS)),
            dtype=np.float32,
            encoding=tfds.features.Encoding.BYTES,
        )
        activity = tfds.features.ClassLabel(names=raw.ACTIVITIES)
        return tfds.core.DatasetInfo(
            builder=self,
            description="Smartphone motion signals of six activities by thirty subjects.",
            features=tfds.features.FeaturesDict(
                {"signals": signals, "activity": activity, "subject": np.int32}
            ),
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
        return {name: self._generate_examples(split) for name, split in splits.items()}

    def _generate_examples(self, split: raw.Recording) -> Iterator[tuple[int, dict[str, Any]]]:
        columns = zip(split.signals, split.activities, split.subjects, strict=True)
        for key, (signals, activity, subject) in enumerate(columns):
            yield key, {"signals": signals, "activity": int(activity), "subject": int(subject)}
