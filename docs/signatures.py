"""Signatures for the API reference: of a class, what its ``__init__`` takes, as the source has it.

Sphinx prints a default by its `repr`, which for a function, or a preset that holds one, is an
address or half a page.
"""

import ast
import inspect
import textwrap
from dataclasses import dataclass

from sphinx.util.inspect import stringify_signature


@dataclass(frozen=True)
class _Verbatim:
    text: str

    def __repr__(self) -> str:
        return self.text


def of_class(cls: type) -> str:
    """As text; empty for a protocol, and for a class that takes what its base takes."""
    if issubclass(cls, tuple):
        parameters = list(inspect.signature(cls).parameters.values())
    else:
        _, *parameters = inspect.signature(cls.__init__).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return ""
    written = _written_defaults(cls)
    parameters = [
        p.replace(default=_Verbatim(written[p.name])) if p.name in written else p
        for p in parameters
    ]
    signature = inspect.Signature(parameters)
    return stringify_signature(signature, show_annotation=True, unqualified_typehints=True)


def _written_defaults(cls: type) -> dict[str, str]:
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return dict(_of_arguments(statement.args))
    fields = [field for field in node.body if isinstance(field, ast.AnnAssign) and field.value]
    return {field.target.id: _of_field(field.value) for field in fields}


def _of_arguments(arguments: ast.arguments):
    positional = [*arguments.posonlyargs, *arguments.args]
    with_default = positional[len(positional) - len(arguments.defaults) :]
    pairs = [
        *zip(with_default, arguments.defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return ((name.arg, ast.unparse(value)) for name, value in pairs if value is not None)


def _of_field(value: ast.expr) -> str:
    """`Residual()` for ``field(default_factory=Residual)``."""
    match value:
        case ast.Call(func=ast.Name("field"), keywords=[ast.keyword("default_factory", factory)]):
            return f"{ast.unparse(factory)}()"
    return ast.unparse(value)
