"""Data sets of the UCR and UEA archives: NAME_TRAIN.ts and NAME_TEST.ts, or `.arff`."""

import re
from array import array
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...._words import counted
from ..._types import DataError
from ...sources.ragged import Ragged
from ..description import Archive, Description, Metric
from ..gaps import READ_THEM, Gaps, way_out
from ..table import LARGEST, Table, checked_inputs
from .formats import GRAMMARS, Header, Row, opened

_INTEGER = re.compile("0|-?[1-9][0-9]{0,17}")


def with_metric(described: Description, archive: Archive) -> Description:
    """The same, with the metric that the files state: `mse` where labels are numbers."""
    path = _files(described.path.parent, archive)["train"]
    metric: Metric = "mse" if opened(path)[0].predicts_numbers else "accuracy"
    if "metric" in described.given and described.metric != metric:
        raise DataError(
            f'{described.path}: expected metric = "{metric}", which {path.name} states, got '
            f'"{described.metric}"; leave it out'
        )
    if metric == "mse" and described.classes:
        raise DataError(
            f"{described.path}: expected no classes, as labels of {path.name} are numbers, got "
            f"{list(described.classes)}; leave them out"
        )
    return replace(described, metric=metric)


def read(folder: Path, archive: Archive, metric: Metric | None, gaps: Gaps) -> Table:
    """The table of both files; DataError names the file and the line.

    Labels are read as `metric` needs them, and not at all for None.
    """
    return _of_files(_files(folder, archive), folder / archive.name, metric, gaps)


def read_file(path: Path, metric: Metric | None, gaps: Gaps) -> Table:
    """The table of one file alone, as `read` has it."""
    return _of_files({"test": path}, path, metric, gaps)._replace(splits=None)


def _of_files(files: Mapping[str, Path], where: Path, metric: Metric | None, gaps: Gaps) -> Table:
    values, lengths = array("d"), []
    labels: list[str] = []
    splits, places, ids = [], [], []
    width = 0
    for split, path in files.items():
        header, rows = opened(path)
        if metric is not None:
            _check_labels(header, path)
        for number, row in enumerate(rows):
            place = f"{path}, line {row.line}"
            width = width or len(row.features)
            sequence = _sequence(row, width, gaps, place)
            values.frombytes(np.ascontiguousarray(sequence).data.cast("B"))
            lengths.append(len(sequence))
            if metric is not None:
                labels.append(_label(row, header, metric, gaps, place))
            splits.append(split)
            places.append(place)
            ids.append(str(number))
        if split not in splits:
            raise DataError(f"{path}: expected a line for every sequence, got none")
    inputs = Ragged.stored(np.frombuffer(values).reshape(-1, width), lengths)
    return Table(
        checked_inputs(inputs, f"{where}", gaps),
        np.zeros(len(inputs)) if metric is None else _labels(labels, metric),
        None,
        np.array(splits),
        places,
        ids,
    )


def check_kind(path: Path, metric: Metric) -> None:
    """DataError for a file that is none of an archive, or has labels of another kind."""
    if path.suffix not in GRAMMARS:
        raise DataError(f"expected a file {' or '.join(GRAMMARS)}, got {path}")
    if not path.is_file():
        raise DataError(f"expected sequences in {path}, found no such file")
    header, _ = opened(path)
    if header.has_labels and header.predicts_numbers != (metric == "mse"):
        kinds = "classes", "numbers"
        expected, got = kinds if metric == "accuracy" else kinds[::-1]
        raise DataError(f"{path}: expected {expected} as labels, as in training, got {got}")


def _labels(labels: list[str], metric: Metric) -> np.ndarray:
    return _integers_or_text(labels) if metric == "accuracy" else np.array(labels, np.float64)


def _check_labels(header: Header, path: Path) -> None:
    if not header.has_labels:
        raise DataError(
            f"{path}: expected labels, stated by @classLabel true or @targetLabel true, got none"
        )


def _files(folder: Path, archive: Archive) -> Mapping[str, Path]:
    """Those of train and test, in the folder or in one of the name of the data set."""
    given = folder / archive.name
    stem = given.with_suffix("") if given.suffix in GRAMMARS else given
    endings = [given.suffix] if given.suffix in GRAMMARS else list(GRAMMARS)
    for ending in endings:
        for base in (stem, stem / stem.name):
            files = {
                split: base.with_name(f"{base.name}_{split.upper()}{ending}")
                for split in ("train", "test")
            }
            found = [path.is_file() for path in files.values()]
            if all(found):
                return files
            if any(found):
                there, absent = sorted(files.values(), key=Path.is_file, reverse=True)
                raise DataError(f"{there}: expected {absent.name} beside it, found no such file")
    raise DataError(
        f"expected {stem}_TRAIN{' or '.join(endings)} and the same with TEST, here or in a folder "
        f"{stem.name}, found neither"
    )


def _sequence(row: Row, width: int, gaps: Gaps, place: str) -> np.ndarray:
    """Its numbers, [T, d] float64, NaN for a question mark."""
    if len(row.features) != width:
        raise DataError(
            f"{place}: expected {counted(width, 'feature')} as in the first sequence, got "
            f"{len(row.features)}"
        )
    try:
        columns = [_numbers(text) for text in row.features]
    except ValueError:
        raise _no_number(row, place) from None
    lengths = [len(column) for column in columns]
    if min(lengths) < max(lengths):
        raise DataError(
            f"{place}: expected as many numbers of every feature, got {min(lengths)} and "
            f"{max(lengths)}"
        )
    sequence = np.array(columns).T
    if (np.abs(sequence) > LARGEST).any():
        raise _no_number(row, place)
    if gaps.are_refused and np.isnan(sequence).any():
        step, feature = np.argwhere(np.isnan(sequence))[0].tolist()
        raise DataError(
            f"{place}: expected a number, got a gap in step {step}, feature {feature} (counted "
            f"from 0){READ_THEM}"
        )
    return sequence


def _numbers(text: str) -> list[float]:
    """As Python reads them, except for 1_000, which other programs refuse."""
    return list(map(float, text.replace("?", "nan").replace("_", "?").split(",")))


def _no_number(row: Row, place: str) -> DataError:
    cell = next(
        cell for text in row.features for cell in text.split(",") if not _is_number(cell.strip())
    )
    return DataError(
        f"{place}: expected finite numbers in the range of float32, separated by commas, got "
        f"{cell.strip()!r}"
    )


def _is_number(cell: str) -> bool:
    try:
        return not abs(_numbers(cell)[0]) > LARGEST
    except ValueError:
        return False


def _label(row: Row, header: Header, metric: Metric, gaps: Gaps, place: str) -> str:
    label = row.label
    if label not in header.classes and gaps.is_gap(label):
        hint = way_out("label") if label else ""
        raise DataError(f"{place}: expected a label, got {label or 'none'}{hint}")
    if metric == "mse":
        if not label or not _is_number(label):
            raise DataError(f"{place}: expected a finite number as label, got {label!r}")
        return label
    elif header.classes and label not in header.classes:
        raise DataError(
            f"{place}: expected a label among those that the head of the file lists "
            f"({', '.join(header.classes)}), got {label!r}"
        )
    return label


def _integers_or_text(labels: list[str]) -> np.ndarray:
    """Integers if all labels are, so that class 10 comes after class 9."""
    if all(map(_INTEGER.fullmatch, labels)):
        return np.array(labels).astype(np.int64)
    return np.array(labels)
