"""The task of a user's own data set, which needs no code: docs/own_data.md."""

import dataclasses
import hashlib
import itertools
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..._words import counted
from .. import splits
from .._types import DataError, Request, Task
from ..faults import naming
from ..sources.ragged import Ragged
from ..sources.sequences import Labelled, sequence_task
from . import description, limits, missing
from .archives import reader as archives
from .description import Archive, Arrays, Description, Files, Layout
from .layouts import reader
from .long_table.keys import LongTable
from .prepared import reader as prepared
from .recipe import recipe_of
from .table import Table
from .targets import num_outputs
from .targets import targets as encoded

# fixed, so that the test set is the same whatever the split seed
_TEST_SEED = 0


def load(request: Request) -> Task:
    """The data set at `request.folder`: a dataset.toml, or the folder that holds one.

    A file of the UCR and UEA archives needs no dataset.toml.

    Test and validation samples are those that dataset.toml or the index names, or else a fraction:
    of whole groups where there are any, else stratified by class where there are classes.
    """
    described = _described(Path(str(request.folder)))
    with naming(described.path):
        return _task(described, request)


def metric(folder: Path) -> str:
    """That of the data set at `folder`, of which no sample is read; DataError as from `load`."""
    return _described(folder).metric


def _described(folder: Path) -> Description:
    """What is stated of the data set, with the metric that the files of an archive state."""
    described = description.read(folder)
    if not isinstance(described.data, Archive):
        return described
    with naming(described.path):
        return archives.with_metric(described, described.data)


def _task(described: Description, request: Request) -> Task:
    table, copy = _whole(described)
    parts = _parts(described, table, request.seed)
    _check_shapes(described, parts)
    _check_apart(parts)
    identity = _identity(described, table, parts)
    parts, gaps = missing.resolved(parts, described.gaps)
    parts, cuts = limits.limited(parts, described.limit)
    targets, classes = encoded(described, parts)
    horizon = {} if described.horizon is None else {"horizon": described.horizon}
    task = sequence_task(
        "folder",
        {name: Labelled(part.inputs, targets[name], part.ids) for name, part in parts.items()},
        request,
        out_features=len(classes) or num_outputs(described, parts["train"]),
        metric=described.metric,
        recipe_of=recipe_of,
        facts={"classes": classes, **identity, **gaps, **cuts, **horizon},
        features=table.features,
        forecasts=described.horizon is not None,
        layout=msgspec.to_builtins(msgspec.structs.replace(described.keys, prepared=None)),
    )
    return dataclasses.replace(task, copy=copy, test_groups=parts["test"].groups)


def _whole(described: Description) -> tuple[Table, str]:
    """All samples that are not in files of their own, and a sentence about their copy, or ""."""
    if isinstance(described.data, LongTable):
        table, copy = prepared.read(described, described.data)
        return table._replace(times=None), copy
    return _read(described, described.data), ""


def _read(described: Description, data: Layout) -> Table:
    table = reader(described.path.parent, data)(described.metric, described.gaps)
    return table._replace(times=None)


def _parts(described: Description, table: Table, seed: int) -> dict[str, Table]:
    """The samples of train, validation and test, in this order."""
    named = np.full(len(table.inputs), "train") if table.splits is None else table.splits
    rest = np.flatnonzero(named == "train")
    if not rest.size:
        raise DataError(f"{described.path}: expected training samples, got none")
    parts: dict[str, Table] = {}
    for name, held, own_seed in (
        ("test", described.test, _TEST_SEED),
        ("validation", described.validation, seed),
    ):
        listed = np.flatnonzero(named == name)
        if listed.size and name in described.given:
            raise DataError(
                f"{described.path}: expected one choice of {name} samples, got one here and one in "
                "the column split; leave one out"
            )
        if isinstance(held, Files):
            parts[name] = _read(described, _as_training(held, described.data))
            if parts[name].inputs.equals(table.inputs):
                raise DataError(
                    f"{described.path}: expected {name} samples of their own, got the training ones"
                )
        elif listed.size:
            parts[name] = table.take(listed)
        else:
            kept, leaving = _hold_out(described, table.take(rest), name, held, own_seed)
            parts[name], rest = table.take(rest[leaving]), rest[kept]
    return {"train": table.take(rest), "validation": parts["validation"], "test": parts["test"]}


def _as_training(held: Files, data: Layout) -> Arrays:
    """Files of their own, with labels of every step where training has them."""
    per_step = isinstance(data, Arrays | LongTable) and data.per_step
    return Arrays(held.inputs, held.labels, held.offsets, per_step=per_step)


def _hold_out(
    described: Description, table: Table, name: str, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    if table.groups is not None:
        unit, kept_and_held = "groups", splits.by_group(table.groups, fraction, seed)
    else:
        unit, held_out = "samples", max(1, round(fraction * len(table.labels)))
        stratifies = _has_classes(described, table)
        labels = np.asarray(table.labels) if stratifies else np.zeros(len(table.labels))
        kept_and_held = splits.stratified(labels, held_out, seed)
    if not kept_and_held[0].size:
        raise DataError(
            f"{described.path}: expected {unit} left for training after {name} = {fraction:g}, "
            f"got none; add {unit}, or name the {name} samples"
        )
    return kept_and_held


def _check_shapes(described: Description, parts: dict[str, Table]) -> None:
    for name, part in parts.items():
        width, first = (t.inputs.values.shape[1] for t in (part, parts["train"]))
        if width != first:
            raise DataError(
                f"{described.path}: expected {counted(first, 'feature')} in {name} as in train, "
                f"got {width}"
            )
        count, first = (t.num_outputs for t in (part, parts["train"]))
        if count != first:
            raise DataError(
                f"{described.path}: expected {counted(first, 'number')} to predict in {name} as in "
                f"train, got {count}"
            )


def _check_apart(parts: dict[str, Table]) -> None:
    """DataError for a group in two parts, which happens where users name the samples."""
    for one, other in itertools.combinations(parts, 2):
        first, second = parts[one], parts[other]
        if first.groups is None or second.groups is None:
            continue
        shared = np.isin(second.groups, first.groups)
        if shared.any():
            row = int(np.flatnonzero(shared)[0])
            raise DataError(
                f"{second.places[row]}: expected every group in one part, got "
                f"{second.groups[row]!s} in {one} and in {other}"
            )


def _identity(described: Description, table: Table, parts: dict[str, Table]) -> dict[str, Any]:
    """JSON-serialisable facts: a checksum, the features' names, and how samples were split."""
    held = {"validation": described.validation, "test": described.test}
    in_files = [name for name, how in held.items() if isinstance(how, Files)]
    digests = [each.sha256() for each in (table, *(parts[name] for name in in_files))]
    rules = {name: _rule(described, name, how, table) for name, how in held.items()}
    sha256 = hashlib.sha256("".join(digests).encode()).hexdigest()
    names = {"features": list(table.features)} if table.features else {}
    return {"sha256": sha256, "test_seed": _TEST_SEED, **rules, **names, **_held_groups(parts)}


def _held_groups(parts: dict[str, Table]) -> dict[str, dict[str, list[Any]]]:
    """The groups that are held out, so that anybody can tell which samples are."""
    held = {name: parts[name].groups for name in ("validation", "test")}
    named = {name: np.unique(each).tolist() for name, each in held.items() if each is not None}
    return {"held_out_groups": named} if named else {}


def _has_classes(described: Description, table: Table) -> bool:
    """Whether samples are held out of every class alike."""
    return described.metric != "mse" and not isinstance(table.labels, Ragged)


def _rule(described: Description, name: str, held: float | Files, table: Table) -> str:
    """How samples were held out, in words."""
    if isinstance(held, Files):
        return "files"
    if table.splits is not None and name in table.splits:
        return "as stated"
    if table.groups is not None:
        return f"{held:g} of the groups"
    return f"{held:g} of {'every class' if _has_classes(described, table) else 'the samples'}"
