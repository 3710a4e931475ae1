"""Conditions that an option states at its field, and the one function that checks them all.

    penalty: Annotated[float | None, POSITIVE, Needs(training=("penalty", "bcd"))] = None

A condition concerns options that differ from their defaults. A value that cannot be is refused as
"expected X, got Y; try Z", an option that would change nothing as "--penalty has no effect with
--training bptt; remove it".
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from .options import Option, Options


class Condition(ABC):
    """What must hold for an option that was given."""

    @abstractmethod
    def check(self, option: Option, config: Options) -> None:
        """ValueError with the whole sentence."""


@dataclass(frozen=True)
class Must(Condition):
    """The value itself satisfies a law, in whose text {} stands for the option's name."""

    law: str
    holds: Callable[[Any], bool]
    advice: str = "leave it out for the default"

    def check(self, option: Option, config: Options) -> None:
        value = option.value(config)
        if not self.holds(value):
            law = self.law.format(option.name)
            raise ValueError(f"expected {law}, got {_text(value)}; {self.advice}")


COUNT = Must("{} >= 1", lambda number: number >= 1)
POSITIVE = Must("a finite {} > 0", lambda number: 0 < number < math.inf)
AT_LEAST_ONE = Must("a finite {} >= 1", lambda number: 1 <= number < math.inf)
SEED = Must("0 <= {} < 2**31", lambda seed: 0 <= seed < 2**31, "try 0")
EACH_ONCE = Must("each name in {} once", lambda names: len(set(names)) == len(names))


@dataclass(frozen=True)
class Where(Condition):
    """The option has an effect only in configurations where `holds`.

    Args:
      holds: asks the configuration.
      because: options that decide it, any of which can be the reason; the message shows the first
        that was given, else the last.
      why: ends the message's reason, as in ", whose samples are not images".
    """

    holds: Callable[[Any], bool]
    because: tuple[str, ...]
    why: str = ""

    def check(self, option: Option, config: Options) -> None:
        self.check_as(_as_typed(option, config), config)

    def check_as(self, typed: str, config: Options) -> None:
        """The same for what is typed as `typed` on the command line."""
        if self.holds(config):
            return
        options = [config.options()[name] for name in self.because]
        reasons = [o for o in options if _is_given(o, config)] or options[-1:]
        reason = _as_typed(reasons[0], config, with_value=True)
        raise ValueError(f"{typed} has no effect with {reason}{self.why}; remove it")


class Needs(Where):
    """Has an effect only where another option has one of these values, or one that satisfies."""

    def __init__(self, why: str = "", **allowed: Collection[str] | Callable[[Any], bool]):
        ((name, values),) = allowed.items()
        satisfies = values if callable(values) else values.__contains__

        def holds(config: Options) -> bool:
            return satisfies(config.options()[name].value(config))

        super().__init__(holds, (name,), why)


@dataclass(frozen=True)
class Given(Condition):
    """Has an effect only beside another option; `value` is an example of that one's."""

    other: str
    value: str = ""

    def check(self, option: Option, config: Options) -> None:
        other = config.options()[self.other]
        if not _is_given(other, config):
            needed = f"{other.flag} {self.value}".rstrip()
            raise ValueError(f"{option.flag} has no effect without {needed}; give both or neither")


@dataclass(frozen=True, eq=False)
class Entries(Condition):
    """Conditions on single entries of an option that holds several names."""

    conditions: Mapping[str, tuple[Where, ...]]

    def check(self, option: Option, config: Options) -> None:
        for name in option.value(config):
            for condition in self.conditions.get(name, ()):
                condition.check_as(f"{option.flag} {name}", config)


def check_options(config: Options) -> None:
    """ValueError for the first value or combination that the options of `config` exclude."""
    options = config.options().values()
    for option in options:
        option.check_names(option.value(config))
    for option in options:
        if _is_given(option, config):
            for condition in option.rules:
                if isinstance(condition, Condition):
                    condition.check(option, config)


def _is_given(option: Option, config: Options) -> bool:
    return option.value(config) != option.default


def _as_typed(option: Option, config: Options, *, with_value: bool = False) -> str:
    """The option as typed on the command line."""
    value = option.value(config)
    if isinstance(value, bool):
        return option.flag if value else option.flag.replace("--", "--no-", 1)
    return f"{option.flag} {_text(value)}" if with_value else option.flag


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
