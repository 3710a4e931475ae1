"""An experiment as a TOML file: which runs to make, and what to call them in a table.

    title = "Lower-level solvers on digits"
    seeds = [0, 1, 2]

    [shared]                     # options of scripts/train.py that all runs have
    task = "digits"

    [matrix]                     # every combination of these
    solver = ["sgd", "nesterov"]

    [[rows]]                     # each with the options it adds
    name = "low rank"
    published = "95.6 [1]"       # to stand beside what is measured here
    operator = "low_rank"

Rows and matrix are optional. Every row, combination and seed makes one cell. With

    split_per_seed = true

every seed also splits the data anew (and draws another `train_fraction` of it), so that deviations
over seeds say what the split does. With a line

    pick = "upper_rate"          # an option of the matrix

the values of that option are tried with the first seed, and of every row the one that is best on
validation is run with the others. All rows have one metric, so that one table can compare them;
they may have different tasks.
"""

import hashlib
import itertools
import json
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ..runs.build import check_model
from ..runs.config import TrainConfig, check
from ..runs.config.needs import as_used
from ..runs.suggestions import shortest
from ..tasks.registry import metric
from .options import OPTIONS, check_apart, check_no_seed, configuration, parsed, seeded, structured
from .variant import Variant


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """The parts of an experiment."""

    title: str | None = None
    seeds: list[int] = msgspec.field(default_factory=lambda: [0])
    split_per_seed: bool = False
    pick: str | None = None
    shared: dict[str, Any] = {}
    matrix: dict[str, Any] = {}
    rows: list[dict[str, Any]] = msgspec.field(default_factory=lambda: [{}])


class _Labels(msgspec.Struct, forbid_unknown_fields=True):
    """What a row has beside options."""

    name: str = ""
    published: str = ""


class Cell(NamedTuple):
    """One run of an experiment.

    Cells that differ in the seed alone share their ``name``, those that differ in the seed and in
    the option to pick their ``row``.
    """

    name: str
    row: str
    config: TrainConfig
    published: str = ""

    @property
    def task(self) -> Variant:
        return Variant.of(self.config.data)

    @property
    def key(self) -> str:
        """Names the configuration: equal for equal ones, wherever they run.

        Of what differs from the defaults alone, so that a new option leaves older results theirs.
        """
        config = shortest(self.config)
        values = {name: option.value(config) for name, option in sorted(OPTIONS.items())}
        asked = {
            name: ",".join(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value != OPTIONS[name].default
        }
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


class Experiment(NamedTuple):
    """What a TOML file asks for."""

    title: str
    cells: Sequence[Cell]
    pick: str | None


def read_experiment(path: Path) -> Experiment:
    """Read and check a file.

    Raises:
      ValueError: no such file, not TOML, options that do not exist or do not fit, no run at all,
        two rows with the same options or the same name, or rows of different metrics; names the
        file and the option.
    """
    content = parsed(path, "an experiment")
    try:
        file = structured(content, _File, "parts of an experiment")
        cells = list(_cells(file))
        for cell in cells:
            check(cell.config)
        _check_different(cells)
        _check_one_metric(cells)
        for config in {cell.name: cell.config for cell in cells}.values():
            check_model(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Experiment(file.title or path.stem, cells, file.pick)


def _cells(file: _File) -> Iterator[Cell]:
    _check_parts(file)
    for row in file.rows:
        words = {name: row[name] for name in _Labels.__struct_fields__ if name in row}
        labels = structured(words, _Labels, "words of a row")
        own = {name: value for name, value in row.items() if name not in words}
        head = [labels.name] if labels.name else [_value(*option) for option in own.items()]
        for values in itertools.product(*file.matrix.values()):
            chosen = dict(zip(file.matrix, values, strict=True))
            tail = {name: _value(name, value) for name, value in chosen.items()}
            name = ", ".join([*head, *tail.values()])
            tail.pop(file.pick or "", None)
            wider = ", ".join([*head, *tail.values()])
            for seed in file.seeds:
                drawn = seeded(seed, file.split_per_seed)
                config = configuration(file.shared | own | chosen | drawn)
                yield Cell(name or "default", wider or "default", config, labels.published)


def _check_parts(file: _File) -> None:
    """ValueError for parts that do not go together."""
    for name, values in file.matrix.items():
        if not isinstance(values, list):
            raise ValueError(f"expected a list for {name} in the matrix, got {values!r}")
    check_apart(("the matrix", file.matrix), ("shared", file.shared))
    for row in file.rows:
        check_apart(("the matrix", file.matrix), ("a row", row))
    check_no_seed(file.split_per_seed, file.shared, file.matrix, *file.rows)
    if len(set(file.seeds)) < len(file.seeds):
        raise ValueError(f"expected every seed once, got {file.seeds}")
    if file.pick is not None and file.pick not in file.matrix:
        raise ValueError(f"expected to pick an option of the matrix, got {file.pick}")


def _value(name: str, value: Any) -> str:
    return value if isinstance(value, str) else f"{name} {value}"


def _check_different(cells: Sequence[Cell]) -> None:
    if not cells:
        raise ValueError("expected one run or more, got none; look for empty lists")
    seen: dict[Hashable, Cell] = {}
    labels = {(cell.name, cell.config.run.seed) for cell in cells}
    for cell in cells:
        config = shortest(cell.config)
        used = tuple(as_used(option.value(config)) for option in OPTIONS.values())
        same = seen.setdefault(used, cell)
        if same is not cell:
            raise ValueError(
                f"expected rows that differ, got {same.name!r} and {cell.name!r}, both with seed "
                f"{cell.config.run.seed}"
            )
    if len(labels) < len(cells):
        raise ValueError("expected a name of its own for every row, got two rows of one name")


def _check_one_metric(cells: Sequence[Cell]) -> None:
    """ValueError for cells that no table can compare; data that are not here are passed over."""
    found: dict[str, Cell] = {}
    for data, cell in {cell.config.data: cell for cell in cells}.items():
        with suppress(ValueError, OSError):  # whoever loads them says it better
            found.setdefault(metric(data.task, data.folder), cell)
    if len(found) > 1:
        told = " and ".join(f"{name} of {cell.name!r}" for name, cell in found.items())
        raise ValueError(f"expected one metric, got {told}; make an experiment of each")
