"""Prepare the records of a data set once; read them into arrays ever after."""

import contextlib
import functools
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ...disk.paths import local_path
from .._types import DataError, PathLike, Request
from ..faults import reading

# Records decoded together: TFDS returns lists, and a whole split as a list is large.
_RECORDS = 4096


def prepared_builder(
    builder_class: Callable[..., tfds.core.GeneratorBasedBuilder],
    data_dir: PathLike | None,
    raw_dir: PathLike | None,
    expected: Any = None,
) -> tfds.core.GeneratorBasedBuilder:
    """A builder with its records in `data_dir` (by default TFDS's own folder).

    Records are made only if there are none: from `raw_dir`, or from a download, checked against
    `expected` (by default the original data). TFDS writes them to a temporary folder and renames it
    at the end, so a fault leaves nothing half done.
    """
    make = functools.partial(
        builder_class,
        data_dir=data_dir and local_path(data_dir, DataError),
        raw_dir=raw_dir and local_path(raw_dir, DataError),
        expected=expected,
    )
    place = data_dir or "the default data_dir"
    advice = "try another data_dir (--data-dir)"
    with reading(f"expected prepared data, or a place for them, in {place}, got none", advice):
        return _prepared(make, data_dir)


def _prepared(
    make: Callable[[], tfds.core.GeneratorBasedBuilder], data_dir: PathLike | None
) -> tfds.core.GeneratorBasedBuilder:
    builder = make()
    try:
        # TFDS announces itself on standard output, which is the caller's
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    except OSError as fault:
        builder = make()
        # another process may have been faster; its records are as good
        if not builder.data_path.exists():
            raise DataError(
                f"expected a data_dir that can be written, got {data_dir or 'the default'} "
                f"({fault}); try another data_dir (--data-dir)"
            ) from fault
    return builder


def prepared_splits(
    builder_class: Callable[..., tfds.core.GeneratorBasedBuilder], request: Request, expected: Any
) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of every split that the builder has, prepared where the request says."""
    builder = prepared_builder(builder_class, request.data_dir, request.raw_dir, expected)
    return {split: read_split(builder, split) for split in builder.info.splits}


def read_split(builder: tfds.core.GeneratorBasedBuilder, split: str) -> dict[str, np.ndarray]:
    """Every feature of a split as one array [N, ...], in the order of the records."""
    unreadable = f"expected prepared records in {builder.data_dir}, found some that cannot be read"
    with reading(unreadable, "delete that folder and prepare again"):
        records = builder.as_data_source(split=split)
        pieces = [
            _stacked(records.__getitems__(range(first, min(first + _RECORDS, len(records)))))
            for first in range(0, len(records), _RECORDS)
        ]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _stacked(records: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {name: np.stack([record[name] for record in records]) for name in records[0]}
