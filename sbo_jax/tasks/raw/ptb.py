"""Mikolov's word-level Penn Treebank: three text files, a sentence a line, checked by counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .._types import DataError

FOLDER = "ptb"
FILES = {
    "train": "ptb.train.txt",
    "validation": "ptb.valid.txt",
    "test": "ptb.test.txt",
}
END = "<eos>"
"""Of a sentence, a word of its own."""


@dataclass(frozen=True)
class ExpectedPtb:
    """Words of every split, ends of sentences among them, and how many different ones."""

    words: Mapping[str, int]
    vocabulary: int


ORIGINAL = ExpectedPtb({"train": 929_589, "validation": 73_760, "test": 82_430}, 10_000)


def find(raw_dir: Path) -> dict[str, Path]:
    """Where the file of each split lies in `raw_dir/ptb`; none is opened."""
    paths = {split: raw_dir / FOLDER / file for split, file in FILES.items()}
    for path in paths.values():
        if not path.is_file():
            raise DataError(
                f"expected Mikolov's Penn Treebank file {path}, found no such file; "
                "put it there, or leave raw_dir out to download it"
            )
    return paths


def read(paths: Mapping[str, Path], expected: ExpectedPtb) -> dict[str, list[str]]:
    """The sentences of every split, in order, without their ends.

    Raises:
      DataError: other counts of words, or a vocabulary that is not that of the training file.
    """
    sentences = {split: _lines(path) for split, path in paths.items()}
    for split, lines in sentences.items():
        count = sum(len(words(line)) for line in lines)
        if count != expected.words[split]:
            raise DataError(
                f"expected {expected.words[split]:,} words in {paths[split]}, ends of lines "
                f"included, found {count:,}; try the original file"
            )
    _check_vocabulary(paths, sentences, expected.vocabulary)
    return sentences


def words(sentence: str) -> list[str]:
    """The words of a sentence, and its end."""
    return [*sentence.split(), END]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(
            f"expected a text file at {path}, found one that cannot be read ({fault}); "
            "try the original file"
        ) from fault


def _check_vocabulary(
    paths: Mapping[str, Path], sentences: Mapping[str, list[str]], expected: int
) -> None:
    known = {word for line in sentences["train"] for word in words(line)}
    if len(known) != expected:
        raise DataError(
            f"expected {expected:,} different words in {paths['train']}, found {len(known):,}; "
            "try the original file"
        )
    for split, lines in sentences.items():
        new = {word for line in lines for word in line.split()} - known
        if new:
            raise DataError(
                f"expected the vocabulary of {paths['train']} in {paths[split]}, found "
                f"{len(new):,} other words, {min(new)!r} for one; try the original file"
            )
