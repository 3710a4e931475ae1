"""What a sampler may choose an option from, as a file says it and as Optuna has it."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from ..._checks import check_choice
from ..options import OPTIONS, structured


class _Range(msgspec.Struct, forbid_unknown_fields=True):
    """A number from `low` to `high`, both included; of equal factors equally likely with `log`."""

    low: int | float
    high: int | float
    log: bool = False


def distribution(name: str, values: Any) -> BaseDistribution:
    """The values of an option: a list to choose from, or the ends of a number.

    Raises:
      ValueError: an option that does not exist, nothing to choose from, or ends that are none.
    """
    check_choice("an option of scripts/train.py", name, OPTIONS)
    match values:
        case list():
            return _choice(name, values)
        case dict():
            return _number(name, values)
        case _:
            raise ValueError(
                f"expected a list for {name}, or {{low = .., high = ..}}, got {values!r}; put a "
                f"single value below [shared]"
            )


def _choice(name: str, values: list[Any]) -> BaseDistribution:
    for value in values:
        if isinstance(value, list):
            raise ValueError(f'expected text for {name}, as in "eta,mu", got {value!r}')
        if not isinstance(value, str | int | float):
            raise ValueError(f"expected text or numbers for {name}, got {value!r}")
    if not values or len(set(values)) < len(values):
        raise ValueError(f"expected one value or more for {name}, each once, got {values!r}")
    return CategoricalDistribution(values)


def _number(name: str, values: dict[str, Any]) -> BaseDistribution:
    """Whole where the option is, whatever its ends are written as."""
    option = OPTIONS[name]
    if option.number is None:
        raise ValueError(f"expected a list for {name}, which is no number, got {values!r}")
    ends = structured(values, _Range, f"ends of {name}")
    option.check_numbers(ends.low)
    option.check_numbers(ends.high)
    if not -math.inf < ends.low < ends.high < math.inf:
        raise ValueError(
            f"expected finite low < high for {name}, got {ends.low} and {ends.high}; try a list"
        )
    if ends.log and ends.low <= 0:
        raise ValueError(f"expected low > 0 for {name} with log = true, got {ends.low}")
    if option.number is int:
        return IntDistribution(int(ends.low), int(ends.high), log=ends.log)
    return FloatDistribution(ends.low, ends.high, log=ends.log)


def corners(space: Mapping[str, BaseDistribution]) -> Iterator[dict[str, Any]]:
    """Every extreme value of every option beside every one of every other.

    All that a condition refuses are values, and pairs of options.
    """
    extremes = {name: _extremes(each) for name, each in space.items()}
    first = {name: values[0] for name, values in extremes.items()}
    for pair in itertools.combinations_with_replacement(extremes, 2):
        for values in itertools.product(*map(extremes.__getitem__, pair)):
            yield first | dict(zip(pair, values, strict=True))


def _extremes(values: BaseDistribution) -> tuple[Any, ...]:
    match values:
        case CategoricalDistribution():
            return tuple(values.choices)
        case IntDistribution() | FloatDistribution():
            return values.low, values.high
        case _:
            raise NotImplementedError(values)
