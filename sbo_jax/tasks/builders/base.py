"""What the TFDS builders share; each of them states its features and its description."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import tensorflow_datasets as tfds

from ..raw.files import Columns
from .download import fetch


class Reader(Protocol):
    """A module of `tasks.raw`."""

    URLS: Mapping[str, str]
    ORIGINAL: Any

    def find(self, raw_dir: Path) -> dict[str, Path]: ...

    def read(self, paths: Mapping[str, Path], expected: Any) -> dict[str, Columns]: ...


class OriginalFilesBuilder(tfds.core.GeneratorBasedBuilder):
    """One record per sample in the order of the original files, from a download or `raw_dir`.

    Downloads must have the checksums in checksums.tsv (TFDS's own check); files in `raw_dir` must
    have the content that `expected` describes, however they are compressed. The name of the class,
    its VERSION and its features decide where prepared records are found.
    """

    reader: Reader
    description: str

    def __init__(self, *, raw_dir: Path | None = None, expected: Any = None, **kwargs: Any) -> None:
        self._raw_dir = raw_dir
        self._expected = self.reader.ORIGINAL if expected is None else expected
        super().__init__(file_format="array_record", **kwargs)

    @abstractmethod
    def _features(self) -> dict[str, Any]:
        """The feature of every column that the reader returns."""

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.description,
            features=tfds.features.FeaturesDict(self._features()),
            disable_shuffling=True,
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        if self._raw_dir is None:
            paths = fetch(dl_manager, self.reader.URLS)
        else:
            paths = self.reader.find(self._raw_dir)
        splits = self.reader.read(paths, self._expected)
        return {name: self._generate_examples(columns) for name, columns in splits.items()}

    def _generate_examples(self, columns: Columns) -> Iterator[tuple[int, dict[str, Any]]]:
        samples = zip(*columns.values(), strict=True)
        return (
            (key, dict(zip(columns, values, strict=True))) for key, values in enumerate(samples)
        )
