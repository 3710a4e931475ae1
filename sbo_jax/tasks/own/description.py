"""dataset.toml: which files hold a data set, and how it is split.

With arrays:                                With one CSV file per sequence:

    inputs = "all.npz:signals"                  index = "index.csv"
    labels = "all.npz:activity"                 sequences = "recordings"
    offsets = "all.npz:offsets"                 header_lines = 1
    groups = "all.npz:subject"                  metric = "mse"
    test = 0.2                                  test = 0.2
    validation = {inputs = ..., labels = ...}   validation = 0.2

Only inputs and labels, or index, are required. Or one long table has the steps of all sequences;
then table, sequence and label are (long_table/keys.py). `gaps = -9999` marks gaps, and CSV files
may have another `separator`, `quote` and `encoding`, and `decimal = ","`. Data sets of the UCR and
UEA archives need no description: the path of a file of one stands for `archive = "NAME"` alone.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import msgspec

from .._types import DataError
from ..faults import naming, reading
from . import keys, limits
from .gaps import Gaps
from .keys import Files, Keys, Metric
from .limits import Limit
from .long_table.keys import LongTable, check_absent, long_table
from .notation import Notation

FILE = "dataset.toml"
_SUFFIXES = (".toml", ".ts", ".arff")
_HELD_OUT = 0.2
_CHOSEN = ("test", "validation", "metric")


class Arrays(Files, frozen=True):
    """Inputs, labels and, if given, groups [N], which are in files as well.

    Attributes:
        per_step: whether labels are those of every step, [N, T] or [S].
    """

    groups: str | None = None
    per_step: bool = False


class Sequences(msgspec.Struct, frozen=True):
    """A folder of CSV files, one per sequence, and the index that labels them."""

    index: str
    folder: str
    header_lines: int
    notation: Notation

    def __post_init__(self) -> None:
        if self.header_lines < 0:
            raise DataError(f"expected header_lines >= 0, got {self.header_lines}")


class Archive(msgspec.Struct, frozen=True):
    """NAME of NAME_TRAIN.ts and NAME_TEST.ts, or of .arff; NAME.arff chooses among both."""

    name: str


Layout: TypeAlias = Arrays | Sequences | LongTable | Archive
_OF_SEQUENCES = ("sequences", "header_lines", *Notation.__dataclass_fields__)
_OF_ARRAYS = ("inputs", "labels", "offsets", "groups", "per_step")
_NOT_OF_ARCHIVES = (*_OF_ARRAYS, "index", *_OF_SEQUENCES, "test")


@dataclass(frozen=True)
class Description:
    """The description of a data set; paths are relative to the folder of `path`.

    Attributes:
        limit: how long sequences may be.
        test: a fraction of all samples, or files.
        validation: a fraction of the remaining samples, or files.
        classes: the labels there may be, in the order of the outputs.
        gaps: what stands for a missing value, and what is done about it.
        horizon: predict the inputs so many steps later, if not labels.
        given: which of test, validation and metric the file itself states.
        keys: all that the file states.
    """

    path: Path
    data: Layout
    metric: Metric
    classes: tuple[str | int, ...] | None
    gaps: Gaps
    limit: Limit | None
    test: float | Files
    validation: float | Files
    horizon: int | None
    given: frozenset[str]
    keys: Keys


def read(path: Path) -> Description:
    """Read the file, or the one in this folder; DataError names it and the key at fault.

    A file of an archive, such as GunPoint_TRAIN.ts, stands for its data set.
    """
    found = read_unlabelled(path)
    with naming(found.path):
        keys.check_labelled(found.keys)
    return found


def read_unlabelled(path: Path, metric: Metric | None = None) -> Description:
    """As `read`; the description need not say where labels are, or that `metric` is what it is."""
    file = path / FILE if path.is_dir() else path
    if file.is_file() and file.suffix not in _SUFFIXES:
        raise DataError(
            f"expected a folder, or a file {', '.join(_SUFFIXES)}, got {file}; describe it in a "
            f"{FILE} beside it (docs/own_data.md)"
        )
    if not file.exists():
        raise DataError(
            f"expected a description of the data set at {file}, found no such file; try the "
            "example in docs/own_data.md"
        )
    unreadable = f"{file}: expected a description in TOML, found one that cannot be read"
    with naming(file), reading(unreadable):
        content = _archive_of(file) or keys.read(
            tomllib.loads(file.read_text(encoding="utf-8-sig"))
        )
        if content.archive is None and content.metric is None:
            content = msgspec.structs.replace(content, metric=metric)
        return described(file, content)


def described(file: Path, content: Keys) -> Description:
    """What these keys of a file state; DataError for those that contradict each other."""
    classes = _classes(content)
    return Description(
        path=file,
        data=_data(content),
        metric=content.metric or ("accuracy" if content.horizon is None else "mse"),
        classes=classes,
        gaps=Gaps(_marks(content), classes or (), content.missing),
        limit=limits.stated(content),
        test=_held_out("test", content.test, content),
        validation=_held_out("validation", content.validation, content),
        horizon=content.horizon,
        given=frozenset(n for n in _CHOSEN if getattr(content, n) is not None),
        keys=content,
    )


def _archive_of(file: Path) -> Keys | None:
    """The description of a file of an archive."""
    if file.suffix not in (".ts", ".arff"):
        return None
    name = re.sub("_(TRAIN|TEST)$", "", file.stem)
    if name == file.stem:
        raise DataError(
            f"expected NAME_TRAIN{file.suffix} or NAME_TEST{file.suffix}, got {file.name}"
        )
    return Keys(archive=name + file.suffix)


def _data(content: Keys) -> Layout:
    keys.check_horizon(content)
    if content.table is not None:
        return long_table(content, _notation(content))
    check_absent(content)
    if content.archive is not None:
        for name in _NOT_OF_ARCHIVES:
            if getattr(content, name) is not None:
                raise DataError(
                    f"expected archive without {name}, which its files say; leave it out"
                )
        return Archive(content.archive)
    if content.index is None:
        for name in _OF_SEQUENCES:
            if getattr(content, name) is not None:
                raise DataError(f"expected {name} together with index alone; leave it out")
        if content.inputs is None:
            raise DataError("expected either inputs and labels, or index, got no inputs")
        return Arrays(
            content.inputs,
            content.labels,
            content.offsets,
            content.groups,
            bool(content.per_step),
        )
    for name in _OF_ARRAYS:
        if getattr(content, name) is not None:
            raise DataError(
                f"expected either inputs and labels, or index, got index and {name}; the columns "
                "file, label, group and split of the index say what belongs together"
            )
    return Sequences(
        content.index, content.sequences or ".", content.header_lines or 0, _notation(content)
    )


def _notation(content: Keys) -> Notation:
    stated = {name: getattr(content, name) for name in Notation.__dataclass_fields__}
    return Notation(**{name: value for name, value in stated.items() if value is not None})


def _marks(content: Keys) -> tuple[float | str, ...]:
    stated = content.gaps
    return stated if isinstance(stated, tuple) else (stated,)


def _held_out(name: str, value: float | Files | None, content: Keys) -> float | Files:
    if isinstance(value, Files):
        if (value.labels is None) != (content.horizon is not None):
            got = "labels and horizon" if value.labels else "no labels"
            raise DataError(f"{name}: expected inputs and labels, or horizon, got {got}")
        return value
    fraction = _HELD_OUT if value is None else value
    if not 0 < fraction < 1:
        advice = "try 0.2"
        if fraction == 0:  # a training run needs both
            own = f'{name} = {{inputs = "FILE.npy", labels = "FILE.npy"}}'
            advice = f"try {name} = 1e-9 for one sample, or {own} for samples of their own"
        raise DataError(f"expected {name} between 0 and 1 (or files), got {fraction:g}; {advice}")
    return fraction


def _classes(content: Keys) -> tuple[str | int, ...] | None:
    if content.classes is None:
        return None
    classes = tuple(name.strip() if isinstance(name, str) else name for name in content.classes)
    kinds = {type(name) for name in classes}
    if kinds not in ({str}, {int}) or len(set(classes)) < max(2, len(classes)):
        raise DataError(
            f"expected two or more different classes, all text or all integers, got {list(classes)}"
        )
    if content.metric == "mse":
        raise DataError('expected classes with metric = "accuracy" alone; leave them out')
    return classes
