"""The Penn Treebank word by word: predict the next of 10,000 words (Mikolov et al. 2010)."""

from collections import Counter

import numpy as np

from .. import streams
from .._types import DataError, PathLike, Recipe, Task
from ..raw.ptb import ORIGINAL, ExpectedPtb, words

DEFAULT_LENGTH = 300


def load(
    length: int = DEFAULT_LENGTH,
    *,
    data_dir: PathLike | None = None,
    raw_dir: PathLike | None = None,
    expected: ExpectedPtb = ORIGINAL,
) -> Task:
    """Windows of `length` words, each to be read where the one before it ended.

    The validation split is the authors' own, so no seed decides anything. Words are numbered by
    their frequency in the training text, the most frequent one being 0.
    """
    if length < 1:
        raise DataError(f"expected length >= 1, got {length}; try {DEFAULT_LENGTH}")
    texts = _texts(data_dir, raw_dir, expected)
    numbers = {word: number for number, word in enumerate(vocabulary(texts["train"]))}
    tokens = {
        split: np.array([numbers[word] for word in text], np.int32) for split, text in texts.items()
    }
    train = streams.full_windows(tokens["train"], length)
    return Task(
        name="ptb",
        train=train,
        validation=streams.TokenSource(tokens["validation"], length),
        test=streams.TokenSource(tokens["test"], length),
        length=length,
        in_features=len(numbers),
        out_features=len(numbers),
        metric="perplexity",
        epoch_size=len(train),
        recipe=Recipe(epochs=10, batch_size=4, upper_rate=3e-3),
        facts={
            "length": length,
            "vocabulary": len(numbers),
            "words": {split: len(text) for split, text in texts.items()},
        },
    )


def vocabulary(text: list[str]) -> list[str]:
    """Every word of a text once, the most frequent first, equally frequent ones by spelling."""
    return [word for word, _ in sorted(Counter(text).items(), key=lambda item: (-item[1], item[0]))]


def _texts(
    data_dir: PathLike | None, raw_dir: PathLike | None, expected: ExpectedPtb
) -> dict[str, list[str]]:
    from ..builders import prepare
    from ..builders.ptb import SboPtb

    builder = prepare.prepare(SboPtb, data_dir, raw_dir, expected=expected)
    return {
        split: [
            word
            for sentence in prepare.arrays(builder, split)["sentence"]
            for word in words(sentence.decode())
        ]
        for split in expected.words
    }
