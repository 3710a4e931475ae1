"""Conditions that an option states at its field, and the one function that checks them all.

    penalty: Annotated[float | None, POSITIVE, Needs(training=("penalty", "bcd"))] = None

Every number is checked as what is computed with, an int32 or a float32. A condition concerns
options that differ from their defaults. A value that cannot be is refused as "expected X, got Y;
try Z", an option that would change nothing as "--penalty has no effect with --training bptt; remove
it".
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..._checks import in_float32
from .options import Option, Options


def as_used(value: Any) -> Any:
    """A value as a computation has it: floats in float32, and so those of a tuple."""
    if isinstance(value, tuple):
        return tuple(map(as_used, value))
    return in_float32(value) if isinstance(value, float) else value


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
        if not self.holds(as_used(value)):
            rounded = f", which is {as_used(value)} in float32" if self.holds(value) else ""
            law = self.law.format(option.name)
            raise ValueError(f"expected {law}, got {_text(value)}{rounded}; {self.advice}")


COUNT = Must("{} >= 1", lambda number: number >= 1)
LAYERS = Must("1 <= {} <= 1000", lambda number: 1 <= number <= 1000, "each one is compiled")
POSITIVE = Must("a finite {} > 0", lambda number: 0 < number < math.inf)
FRACTION = Must("0 <= {} < 1", lambda number: 0 <= number < 1)
NOT_NEGATIVE = Must("a finite {} >= 0", lambda number: 0 <= number < math.inf)
AT_LEAST_ONE = Must("a finite {} >= 1", lambda number: 1 <= number < math.inf)
ETA = replace(POSITIVE, advice="the paper uses 1e-3")
MU = replace(FRACTION, advice="the paper starts at 0.5")
UPPER_RATE = replace(POSITIVE, law="a finite upper-level rate > 0", advice="try 5e-3")
CLIP = replace(POSITIVE, law="a finite clipping norm > 0", advice="try 1.0")
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
        option.check_numbers(option.value(config))
        option.check_names(option.value(config))
    for option in options:
        if _is_given(option, config):
            laws = [rule for rule in option.rules if isinstance(rule, Must)]
            for law in laws:
                law.check(option, config)
            _check_range(option.name, option.value(config))
            for rule in option.rules:
                if isinstance(rule, Condition) and rule not in laws:
                    rule.check(option, config)


def _check_range(name: str, value: object) -> None:
    """ValueError for a number that an int32 cannot hold, or that float32 makes infinite or 0."""
    for number in value if isinstance(value, tuple) else (value,):
        match number:
            case float():
                used = in_float32(number)
                if not math.isfinite(used) or (used == 0) != (number == 0):
                    raise ValueError(
                        f"expected {name} as 0 or between 1.2e-38 and 3.4e38 in size, which is "
                        f"the range of float32, got {number:g}"
                    )
            case int() if not -(2**31) <= number < 2**31:
                raise ValueError(f"expected {name} < 2**31, got {number}")


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
