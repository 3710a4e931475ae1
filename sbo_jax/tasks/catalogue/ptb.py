"""The Penn Treebank word by word: predict the next of 10,000 words (Mikolov et al. 2010)."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from .._types import DataError, Recipe, Request, Task
from ..raw.ptb import ORIGINAL, ExpectedPtb, words
from ..sources import streams

DEFAULT_LENGTH = 300


def load(request: Request, expected: ExpectedPtb = ORIGINAL) -> Task:
    """Windows of `length` words; each continues where the one before it ended.

    The validation split is the authors' own, so the seed decides nothing. A train_fraction is the
    beginning of the training text. Words are numbered by their frequency in the whole training
    text; 0 is the most frequent one.
    """
    length = _length(request)
    texts = _texts(request, expected)
    numbers = {word: number for number, word in enumerate(vocabulary(texts["train"]))}
    tokens = {
        split: np.array([numbers[word] for word in text], np.int32) for split, text in texts.items()
    }
    return _task(request, length, tokens, len(numbers))


def outline(request: Request) -> Task:
    """The task without its text: word 0 again and again."""
    tokens = {split: np.zeros(count, np.int32) for split, count in ORIGINAL.words.items()}
    return _task(request, _length(request), tokens, ORIGINAL.vocabulary)


def _length(request: Request) -> int:
    length = DEFAULT_LENGTH if request.length is None else request.length
    if length < 1:
        raise DataError(f"expected length >= 1, got {length}; try {DEFAULT_LENGTH}")
    return length


def _task(request: Request, length: int, tokens: Mapping[str, np.ndarray], num_words: int) -> Task:
    counts = {split: len(text) for split, text in tokens.items()}
    fraction = request.train_fraction
    facts = {"length": length, "vocabulary": num_words, "words": counts}
    if fraction is None:
        train = streams.full_windows(tokens["train"], length)
    else:
        beginning = tokens["train"][: max(2, round(fraction * counts["train"]))]
        train = streams.full_windows(beginning, length)
        facts |= {"words": counts | {"train": len(train.tokens)}, "train_fraction": fraction}
    return Task(
        name="ptb",
        train=train,
        validation=streams.TokenSource(tokens["validation"], length),
        test=streams.TokenSource(tokens["test"], length),
        length=length,
        in_features=num_words,
        out_features=num_words,
        metric="perplexity",
        epoch_size=len(train),
        recipe=Recipe(epochs=10, batch_size=4, upper_rate=3e-3),
        facts=facts,
    )


def vocabulary(text: list[str]) -> list[str]:
    """Every word of a text once, the most frequent first, equally frequent ones by spelling."""
    return [word for word, _ in sorted(Counter(text).items(), key=lambda item: (-item[1], item[0]))]


def _texts(request: Request, expected: ExpectedPtb) -> dict[str, list[str]]:
    from ..builders.ptb import SboPtb
    from ..builders.records import prepared_splits

    splits = prepared_splits(SboPtb, request, expected)
    return {
        split: [word for line in splits[split]["sentence"] for word in words(line.decode())]
        for split in expected.words
    }
