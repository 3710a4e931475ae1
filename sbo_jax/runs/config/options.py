"""Options by one flat name each, wherever a nested configuration holds them.

A command line, a TOML file and config.json say `hidden`; the library takes the part that it needs,
`config.layer`. This module alone knows both views.
"""

import dataclasses
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from ..._checks import check_choice, literals

# Not Self, which the runtime type checks of the tests do not know outside of classes they decorate.
_Config = TypeVar("_Config", bound="Options")

PLACE = "says where a run takes place, not what it computes"
"""For `Annotated`, at the field of an option."""


@dataclass(frozen=True)
class Option:
    """One option of a configuration.

    Attributes:
      part: the attribute of the configuration that holds it; None for the configuration itself.
      hint: its type.
      rules: what `Annotated` adds to the type, that of its part first.
    """

    name: str
    part: str | None
    hint: Any
    default: object
    rules: tuple[object, ...]

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    def value(self, config: "Options") -> Any:
        return getattr(getattr(config, self.part) if self.part else config, self.name)

    def typed(self, config: "Options") -> str:
        """As on a command line."""
        value = self.value(config)
        if isinstance(value, bool):
            return self.flag if value else self.flag.replace("--", "--no-", 1)
        if not isinstance(value, tuple):
            return f"{self.flag} {shlex.quote(str(value))}"
        words = [shlex.quote(str(one)) for one in value]
        return f"{self.flag} {(',' if self.number is None else ' ').join(words)}"

    def parsed(self, value: Any) -> Any:
        """The value as the configuration holds it: names may come as text, "eta,mu", or a list.

        One value stands for itself where several are expected.

        Raises:
          ValueError: a name that the type does not know, or no number where it is one.
        """
        if get_origin(self.hint) is tuple:
            value = split_names(value) if isinstance(value, str) else _several(value)
        self.check_numbers(value)
        self.check_names(value)
        return value

    def check_numbers(self, value: object) -> None:
        """ValueError unless an option of numbers alone holds numbers, whole ones where it must."""
        if self.number is None or (self.takes_none and value is None):
            return
        kind, text = (Real, "a number") if self.number is float else (Integral, "a whole number")
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, bool) or not isinstance(number, kind):
                raise ValueError(f"expected {self.name} as {text}, got {number!r}")

    @property
    def number(self) -> type[float] | type[int] | None:
        """What an option of numbers alone takes, any or whole ones; None for every other option."""
        kinds = _kinds(self.hint) & {int, float, str, bool, Path}
        if not kinds or not kinds <= {int, float}:
            return None
        return float if float in kinds else int

    @property
    def takes_none(self) -> bool:
        return type(None) in _kinds(self.hint)

    def check_names(self, value: object) -> None:
        """ValueError unless every name in `value` is one that the type knows, if it knows any."""
        known = literals(self.hint)
        if known and value != self.default:
            for name in value if isinstance(value, tuple) else (value,):
                check_choice(self.name, name, known)


def _kinds(hint: Any) -> set[Any]:
    """The plain types in a hint such as ``tuple[float, ...] | None``."""
    return {hint}.union(*map(_kinds, get_args(hint)))


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Iterable) else (value,)


def split_names(text: str) -> tuple[str, ...]:
    """The names in "eta,mu"; spaces around a comma mean nothing."""
    return tuple(name.strip() for name in text.split(","))


@cache
def _options_by_name(holder: Any) -> Mapping[str, Option]:
    return {option.name: option for option in _options(holder)}


def _options(holder: Any, part: str | None = None, rules: tuple = ()) -> Iterator[Option]:
    hints = get_type_hints(holder, include_extras=True)
    bare = get_type_hints(holder)
    for field in dataclasses.fields(holder):
        hint = hints[field.name]
        own = rules + (get_args(hint)[1:] if get_origin(hint) is Annotated else ())
        if dataclasses.is_dataclass(bare[field.name]):
            yield from _options(bare[field.name], field.name, own)
        else:
            yield Option(field.name, part, bare[field.name], field.default, own)


@dataclass(frozen=True)
class Options:
    """Base of a frozen dataclass whose fields are options, or parts: dataclasses of options."""

    @classmethod
    def options(cls) -> Mapping[str, Option]:
        """Every option by its name, in the order of the fields."""
        return _options_by_name(cls)  # type: ignore[arg-type]  # takes the hash of instances

    @classmethod
    def places(cls) -> frozenset[str]:
        """The names of the options that are marked as a `PLACE`."""
        return frozenset(name for name, o in cls.options().items() if PLACE in o.rules)

    @classmethod
    def of(cls: type[_Config], **options: object) -> _Config:
        """The configuration with these options, and every other at its default.

        Raises:
          ValueError: a name that is no option.
        """
        return cls().changed(**options)

    def changed(self: _Config, **options: object) -> _Config:
        """A copy with these options in place of its own; ValueError as for `of`."""
        known = self.options()
        changes: dict[str | None, dict[str, Any]] = {}
        for name, value in options.items():
            check_choice("an option", name, known)
            changes.setdefault(known[name].part, {})[name] = known[name].parsed(value)
        own = changes.pop(None, {})
        parts = {
            part: dataclasses.replace(getattr(self, part), **values)
            for part, values in changes.items()
            if part
        }
        return dataclasses.replace(self, **own, **parts)

    def typed(self) -> list[str]:
        """The options that are not at their defaults, as on a command line."""
        options = self.options().values()
        return [option.typed(self) for option in options if option.value(self) != option.default]

    def flat(self) -> dict[str, Any]:
        """Every option's value by its name."""
        return {name: option.value(self) for name, option in self.options().items()}
