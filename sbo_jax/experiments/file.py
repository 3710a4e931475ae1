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

Rows and matrix are optional. Every row, combination and seed makes one cell. With a line

    pick = "upper_rate"          # an option of the matrix

the values of that option are tried with the first seed, and of every row the one that is best on
validation is run with the others.
"""

import hashlib
import itertools
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import msgspec

from .._checks import check_choice
from ..runs.config import TrainConfig
from ..runs.folder import PLACES
from ..runs.needs import check

# A folder is a place, and yet rows may differ in it.
_HINTS = {
    name: hint
    for name, hint in get_type_hints(TrainConfig).items()
    if name not in PLACES or name == "folder"
}
_PARTS = {
    "title": str,
    "seeds": list[int],
    "pick": str,
    "shared": dict,
    "matrix": dict,
    "rows": list[dict],
}
_SAID = {"name": str, "published": str}


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
    def key(self) -> str:
        """Names the configuration: equal for equal ones, wherever they run.

        Of what differs from the defaults alone, so that a new option leaves older results theirs.
        """
        options = {name: getattr(self.config, name) for name in sorted(_HINTS)}
        asked = {name: x for name, x in options.items() if x != getattr(TrainConfig, name)}
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


class Experiment(NamedTuple):
    """What a TOML file asks for."""

    title: str
    cells: Sequence[Cell]
    pick: str | None


def read_experiment(path: Path) -> Experiment:
    """Read and check a file.

    Raises:
      ValueError: no such file, no TOML, options that do not exist or do not fit, no run at all, or
        two rows that ask for the same or have one name; names the file and the option.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        for name, value in content.items():
            _checked(name, value, _PARTS, "parts of an experiment")
        cells = list(_cells(content))
        for cell in cells:
            check(cell.config)
        _check_different(cells)
    except (OSError, ValueError) as error:  # TOML's and Unicode's errors are ValueErrors
        raise ValueError(f"{path}: {error}") from error
    return Experiment(content.get("title", path.stem), cells, content.get("pick"))


def _cells(content: Mapping[str, Any]) -> Iterator[Cell]:
    _check_parts(content)
    shared, matrix = content.get("shared", {}), content.get("matrix", {})
    seeds, pick = content.get("seeds", [0]), content.get("pick")
    for row in content.get("rows", [{}]):
        own = {name: value for name, value in row.items() if name not in _SAID}
        said = {name: _checked(name, row[name], _SAID, "words") for name in _SAID if name in row}
        for values in itertools.product(*matrix.values()):
            chosen = dict(zip(matrix, values, strict=True))
            labels = {name: _value(name, value) for name, value in chosen.items()}
            label = ", ".join([*_label(said, own), *labels.values()])
            labels.pop(pick, None)
            wider = ", ".join([*_label(said, own), *labels.values()])
            for seed in seeds:
                asked = shared | own | chosen | {"seed": seed}
                known = "options of scripts/train.py"
                options = {name: _checked(name, v, _HINTS, known) for name, v in asked.items()}
                yield Cell(
                    label or "default",
                    wider or "default",
                    TrainConfig(**options),
                    said.get("published", ""),
                )


def _check_parts(content: Mapping[str, Any]) -> None:
    """ValueError for parts that do not go together."""
    matrix, pick = content.get("matrix", {}), content.get("pick")
    for name, values in matrix.items():
        if not isinstance(values, list):
            raise ValueError(f"expected a list for {name} in the matrix, got {values!r}")
    for options in (content.get("shared", {}), matrix, *content.get("rows", [])):
        if "seed" in options:
            raise ValueError("expected seeds as a list at the top, as in seeds = [0, 1], got seed")
    if pick is not None and pick not in matrix:
        raise ValueError(f"expected to pick an option of the matrix, got {pick}")


def _label(said: Mapping[str, str], own: Mapping[str, Any]) -> list[str]:
    if "name" in said:
        return [said["name"]]
    return [_value(name, value) for name, value in own.items()]


def _value(name: str, value: Any) -> str:
    return value if isinstance(value, str) else f"{name} {value}"


def _checked(name: str, value: Any, hints: Mapping[str, Any], known: str) -> Any:
    """`value` in the type that `hints` has for `name`; ValueError where that cannot be."""
    if name not in hints:
        raise ValueError(f"expected {known} ({', '.join(hints)}), got {name}")
    check_choice(name, value, hints[name])
    try:
        return msgspec.convert(value, hints[name])
    except msgspec.ValidationError as error:
        raise ValueError(f"{name} = {value!r}: {error}") from error


def _check_different(cells: Sequence[Cell]) -> None:
    if not cells:
        raise ValueError("expected one run or more, got none; look for empty lists")
    seen: dict[str, Cell] = {}
    labels = {(cell.name, cell.config.seed) for cell in cells}
    for cell in cells:
        same = seen.setdefault(cell.key, cell)
        if same is not cell:
            raise ValueError(
                f"expected rows that differ, got {same.name!r} and {cell.name!r}, both with seed "
                f"{cell.config.seed}"
            )
    if len(labels) < len(cells):
        raise ValueError("expected a name of its own for every row, got two rows of one name")
