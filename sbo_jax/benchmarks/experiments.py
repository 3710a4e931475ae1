"""An experiment as a TOML file: which runs to make, and what to call them in a table.

    title = "Lower-level solvers on digits"
    seeds = [0, 1, 2]

    [shared]                     # options of scripts/train.py that all runs have
    task = "digits"

    [matrix]                     # every combination of these
    solver = ["sgd", "nesterov"]

    [[rows]]                     # each with the options it adds
    name = "low rank"
    operator = "low_rank"

Rows and matrix are optional. Every row, combination and seed makes one cell.
"""

import hashlib
import itertools
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import msgspec

from ..training import TrainConfig
from ..training.run_folder import PLACES

_HINTS = {name: hint for name, hint in get_type_hints(TrainConfig).items() if name not in PLACES}
_PARTS = {"title": str, "seeds": list[int], "shared": dict, "matrix": dict, "rows": list[dict]}


class Cell(NamedTuple):
    """One run of an experiment; cells that differ in the seed alone share their name."""

    name: str
    config: TrainConfig

    @property
    def key(self) -> str:
        """Names the configuration: equal for equal ones, wherever they run."""
        asked = {name: getattr(self.config, name) for name in sorted(_HINTS)}
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


class Experiment(NamedTuple):
    """What a TOML file asks for."""

    title: str
    cells: Sequence[Cell]


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
            cell.config.check()
        _check_different(cells)
    except (OSError, ValueError) as error:  # TOML's and Unicode's errors are ValueErrors
        raise ValueError(f"{path}: {error}") from error
    return Experiment(content.get("title", path.stem), cells)


def _cells(content: Mapping[str, Any]) -> Iterator[Cell]:
    shared, matrix = content.get("shared", {}), content.get("matrix", {})
    seeds = content.get("seeds", [0])
    for name, values in matrix.items():
        if not isinstance(values, list):
            raise ValueError(f"expected a list for {name} in the matrix, got {values!r}")
    for row in content.get("rows", [{}]):
        own = {name: value for name, value in row.items() if name != "name"}
        for values in itertools.product(*matrix.values()):
            chosen = dict(zip(matrix, values, strict=True))
            label = ", ".join([*_label(row, own), *(_value(n, v) for n, v in chosen.items())])
            for seed in seeds:
                asked = shared | own | chosen | {"seed": seed}
                known = "options of scripts/train.py"
                options = {name: _checked(name, v, _HINTS, known) for name, v in asked.items()}
                yield Cell(label or "default", TrainConfig(**options))


def _label(row: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    if "name" in row:
        return [_checked("name", row["name"], {"name": str}, "a name")]
    return [_value(name, value) for name, value in own.items()]


def _value(name: str, value: Any) -> str:
    return value if isinstance(value, str) else f"{name} {value}"


def _checked(name: str, value: Any, hints: Mapping[str, Any], known: str) -> Any:
    """`value` in the type that `hints` has for `name`; ValueError where that cannot be."""
    if name not in hints:
        raise ValueError(f"expected {known} ({', '.join(hints)}), got {name}")
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
