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
import re
import tomllib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_origin

import msgspec

from .._checks import check_choice, did_you_mean, literals
from ..runs.build import check_model
from ..runs.config import TrainConfig, check
from ..runs.config.needs import as_used
from ..runs.config.options import Option

# A folder is a place, and yet rows may differ in it.
_PLACES = TrainConfig.places() - {"folder"}
_OPTIONS = {n: option for n, option in TrainConfig.options().items() if n not in _PLACES}
_Struct = TypeVar("_Struct", bound=msgspec.Struct)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """The parts of an experiment."""

    title: str | None = None
    seeds: list[int] = msgspec.field(default_factory=lambda: [0])
    pick: str | None = None
    shared: dict[str, Any] = {}
    matrix: dict[str, Any] = {}
    rows: list[dict[str, Any]] = msgspec.field(default_factory=lambda: [{}])


class _Labels(msgspec.Struct, forbid_unknown_fields=True):
    """What a row has beside options."""

    name: str = ""
    published: str = ""


def _type(option: Option) -> Any:
    """The option's type as TOML has it: several names are a list, or text with commas."""
    return (list[str] | str) if get_origin(option.hint) is tuple else option.hint


_Asked = msgspec.defstruct(
    "_Asked",
    [(name, _type(o) | msgspec.UnsetType, msgspec.UNSET) for name, o in _OPTIONS.items()],
    forbid_unknown_fields=True,
)


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
        values = {name: option.value(self.config) for name, option in sorted(_OPTIONS.items())}
        asked = {
            name: ",".join(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value != _OPTIONS[name].default
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
      ValueError: no such file, not TOML, options that do not exist or do not fit, no run at all, or
        two rows with the same options or the same name; names the file and the option.
    """
    content = _toml(path)
    if not content:
        raise ValueError(f"{path}: expected options, got an empty file; try [shared] and seeds")
    try:
        file = _read(content, _File, "parts of an experiment")
        cells = list(_cells(file))
        for cell in cells:
            check(cell.config)
        _check_different(cells)
        for config in {cell.name: cell.config for cell in cells}.values():
            check_model(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Experiment(file.title or path.stem, cells, file.pick)


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"expected an experiment at {path}, got: {error.strerror}") from error
    except Exception as error:  # deep brackets end in a RecursionError, say
        raise ValueError(f"{path}: {error}") from error


def _cells(file: _File) -> Iterator[Cell]:
    _check_parts(file)
    for row in file.rows:
        words = {name: row[name] for name in _Labels.__struct_fields__ if name in row}
        labels = _read(words, _Labels, "words of a row")
        own = {name: value for name, value in row.items() if name not in words}
        head = [labels.name] if labels.name else [_value(*option) for option in own.items()]
        for values in itertools.product(*file.matrix.values()):
            chosen = dict(zip(file.matrix, values, strict=True))
            tail = {name: _value(name, value) for name, value in chosen.items()}
            name = ", ".join([*head, *tail.values()])
            tail.pop(file.pick or "", None)
            wider = ", ".join([*head, *tail.values()])
            for seed in file.seeds:
                config = _config(file.shared | own | chosen | {"seed": seed})
                yield Cell(name or "default", wider or "default", config, labels.published)


def _config(options: Mapping[str, Any]) -> TrainConfig:
    asked = msgspec.structs.asdict(_read(options, _Asked, "options of scripts/train.py"))
    return TrainConfig.of(**{name: x for name, x in asked.items() if x is not msgspec.UNSET})


def _check_parts(file: _File) -> None:
    """ValueError for parts that do not go together."""
    for name, values in file.matrix.items():
        if not isinstance(values, list):
            raise ValueError(f"expected a list for {name} in the matrix, got {values!r}")
    for options in (file.shared, file.matrix, *file.rows):
        if "seed" in options:
            raise ValueError("expected seeds as a list at the top, as in seeds = [0, 1], got seed")
    if file.pick is not None and file.pick not in file.matrix:
        raise ValueError(f"expected to pick an option of the matrix, got {file.pick}")


def _value(name: str, value: Any) -> str:
    return value if isinstance(value, str) else f"{name} {value}"


def _read(content: Mapping[str, Any], struct: type[_Struct], known: str) -> _Struct:
    """The content as this struct; ValueError that names what does not fit, and what would."""
    try:
        return msgspec.convert(content, struct)
    except msgspec.ValidationError as error:
        types = {field.name: field.type for field in msgspec.structs.fields(struct)}
        for name, value in content.items():
            if name not in types:
                hint = did_you_mean(name, types)
                raise ValueError(
                    f"expected {known} ({', '.join(types)}), got {name}{hint}"
                ) from error
            if names := literals(types[name]):
                check_choice(name, value, names)
        (name,) = re.findall(r"`\$\.(\w+)", str(error))
        raise ValueError(f"{name} = {content[name]!r}: {error}") from error


def _check_different(cells: Sequence[Cell]) -> None:
    if not cells:
        raise ValueError("expected one run or more, got none; look for empty lists")
    seen: dict[Hashable, Cell] = {}
    labels = {(cell.name, cell.config.run.seed) for cell in cells}
    for cell in cells:
        used = tuple(as_used(option.value(cell.config)) for option in _OPTIONS.values())
        same = seen.setdefault(used, cell)
        if same is not cell:
            raise ValueError(
                f"expected rows that differ, got {same.name!r} and {cell.name!r}, both with seed "
                f"{cell.config.run.seed}"
            )
    if len(labels) < len(cells):
        raise ValueError("expected a name of its own for every row, got two rows of one name")
