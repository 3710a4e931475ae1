"""Options of scripts/train.py in a TOML file, and what is wrong with them, in one sentence."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_origin

import msgspec

from .._checks import check_choice, did_you_mean, literals
from ..runs.config import TrainConfig
from ..runs.config.options import Option

# A folder is a place, and yet runs may differ in it.
_PLACES = TrainConfig.places() - {"folder"}
OPTIONS: Mapping[str, Option] = {
    name: option for name, option in TrainConfig.options().items() if name not in _PLACES
}
"""Those that say what a run computes."""

_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def _type(option: Option) -> Any:
    """The option's type as TOML has it: several names are a list, or text with commas."""
    return (list[str] | str) if get_origin(option.hint) is tuple else option.hint


_Asked = msgspec.defstruct(
    "_Asked",
    [(name, _type(o) | msgspec.UnsetType, msgspec.UNSET) for name, o in OPTIONS.items()],
    forbid_unknown_fields=True,
)


def parsed(path: Path, what: str) -> dict[str, Any]:
    """The content of a TOML file; ValueError that names it, for one that is none, or is empty."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"expected {what} at {path}, got: {error.strerror}") from error
    except Exception as error:  # deep brackets end in a RecursionError, say
        raise ValueError(f"{path}: {error}") from error
    if not content:
        raise ValueError(f"{path}: expected options, got an empty file; try [shared] and seeds")
    return content


def configuration(options: Mapping[str, Any]) -> TrainConfig:
    """The run with these options; ValueError for a name or a type that does not fit."""
    asked = msgspec.structs.asdict(structured(options, _Asked, "options of scripts/train.py"))
    return TrainConfig.of(**{name: x for name, x in asked.items() if x is not msgspec.UNSET})


def seeded(seed: int, split_per_seed: bool) -> dict[str, int]:
    """The options that a seed of a file sets: with `split_per_seed` the split of the data too."""
    return {"seed": seed, "split_seed": seed} if split_per_seed else {"seed": seed}


def check_no_seed(split_per_seed: bool, *options: Mapping[str, Any]) -> None:
    """ValueError for a seed among options where the seeds of the file decide."""
    if any("seed" in each for each in options):
        raise ValueError("expected seeds as a list at the top, as in seeds = [0, 1], got seed")
    if split_per_seed and any("split_seed" in each for each in options):
        raise ValueError("split_seed has no effect with split_per_seed = true; remove one")


def check_apart(one: tuple[str, Mapping[str, Any]], other: tuple[str, Mapping[str, Any]]) -> None:
    """ValueError for an option in both of two parts of a file, each with its name."""
    (here, options), (there, others) = one, other
    for name in options:
        if name in others:
            raise ValueError(f"expected {name} in {here} or in {there}, got it in both; remove one")


def structured(content: Mapping[str, Any], struct: type[_Struct], known: str) -> _Struct:
    """The content as this struct; ValueError that names what does not fit, and what would."""
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    for name, field in fields.items():
        if field.required and name not in content:
            raise ValueError(f"expected {name} among the {known}, got none; add it")
    try:
        return msgspec.convert(content, struct)
    except msgspec.ValidationError as error:
        for name, value in content.items():
            if name not in fields:
                hint = did_you_mean(name, fields)
                raise ValueError(
                    f"expected {known} ({', '.join(fields)}), got {name}{hint}"
                ) from error
            if names := literals(fields[name].type):
                check_choice(name, value, names)
        (name,) = re.findall(r"`\$\.(\w+)", str(error))
        raise ValueError(f"{name} = {content[name]!r}: {error}") from error
