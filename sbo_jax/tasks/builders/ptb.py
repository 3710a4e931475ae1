"""The Penn Treebank as records of one sentence."""

from typing import Any

import tensorflow_datasets as tfds

from ..raw import ptb as raw
from .base import OriginalFilesBuilder


class SboPtb(OriginalFilesBuilder):
    """Sentences, words separated by blanks, from downloads or from `raw_dir/ptb`."""

    VERSION = tfds.core.Version("1.0.0")
    reader = raw
    description = "Mikolov's Penn Treebank, word by word: 10,000 words."

    def _features(self) -> dict[str, Any]:
        return {"sentence": tfds.features.Text()}
