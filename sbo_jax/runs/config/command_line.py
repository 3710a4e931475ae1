"""Configurations as a command line has them: flat names, and several names as in eta,mu."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from ..._checks import check_choice, literals
from .options import split_names

_Result = TypeVar("_Result")
_RULES = ConstructorRegistry()
_FLAT = (tyro.conf.OmitArgPrefixes,)


@_RULES.primitive_rule
def _names(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Several names out of a known set, with commas or spaces between them."""
    known = literals(info.type)
    if info.type_origin is not tuple or not known:
        return None

    def read(words: list[str]) -> tuple[str, ...]:
        names = tuple(name for word in words for name in split_names(word))
        for name in names:
            check_choice("a name", name, known)
        return names

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"{'|'.join(known)},...",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda names: [",".join(names)],
    )


def parse(
    target: Callable[..., _Result],
    arguments: Sequence[str] | None = None,
    description: str | None = None,
) -> _Result:
    """`target`, a configuration or a function of one, called with what the command line says."""
    return tyro.cli(target, args=arguments, description=description, config=_FLAT, registry=_RULES)


def parse_command(
    commands: dict[str, Callable[..., _Result]],
    arguments: Sequence[str] | None = None,
    *,
    prog: str,
    description: str | None = None,
) -> _Result:
    """The function of the command that the command line begins with, called with what follows."""
    return tyro.extras.subcommand_cli_from_dict(
        commands,
        prog=prog,
        description=description,
        args=arguments,
        config=_FLAT,
        registry=_RULES,
    )
