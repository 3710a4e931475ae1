"""The API reference, read from the code: every public name of every room, on one page a room.

A room's public names are those that its ``__init__.py`` imports from its files; the names that
`sbo_jax` offers at the top are listed in front and described in their rooms. Needs no Sphinx, so
that a test can ask which names the pages hold.
"""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import sbo_jax


def rooms() -> list[str]:
    """Public modules of sbo_jax, one level deep."""
    names = (module.name for module in pkgutil.iter_modules(sbo_jax.__path__))
    return [f"sbo_jax.{name}" for name in names if not name.startswith("_")]


def origins(room: str) -> dict[str, str]:
    """``{public name: module that defines it}``, in the order of the source."""
    module = importlib.import_module(room)
    tree = ast.parse(inspect.getsource(module))
    found = dict(_imported(tree, room) if hasattr(module, "__path__") else _defined(tree, room))
    return {
        name: origin
        for name, origin in found.items()
        if not (name.startswith("_") or isinstance(getattr(module, name), ModuleType))
    }


def _imported(tree: ast.Module, package: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            for alias in node.names:
                yield alias.asname or alias.name, f"{package}.{node.module}"


def _defined(tree: ast.Module, module: str) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name, module


def described() -> dict[str, list[str]]:
    """``{page: its names}``; the page of `sbo_jax` has those of the top that no room describes."""
    found = {room: list(origins(room)) for room in rooms()}
    elsewhere = {name for names in found.values() for name in names}
    found["sbo_jax"] = [name for name in origins("sbo_jax") if name not in elsewhere]
    return found


def pages() -> dict[str, str]:
    """``{file name: reStructuredText}``."""
    names = described()
    written = {f"{page}.rst": _page(page, names[page]) for page in names}
    written["sbo_jax.rst"] += _summary(names)
    entries = "\n".join(f"   {page}" for page in sorted(names))
    written["index.rst"] = f"API reference\n=============\n\n.. toctree::\n\n{entries}\n"
    return written


def _summary(names: dict[str, list[str]]) -> str:
    """Every name at the top, beside a link to the page that describes it."""
    top = origins("sbo_jax")
    lines = [
        f"* :py:obj:`sbo_jax.{name} <{page}.{name}>`"
        for page, entries in names.items()
        for name in entries
        if name in top and getattr(sbo_jax, name) is getattr(importlib.import_module(page), name)
    ]
    title = "Every name at the top"
    return "\n".join(["", title, "-" * len(title), "", *lines, ""])


def write(folder: Path) -> None:
    """Write the pages that have changed, and remove those of rooms that are gone."""
    folder.mkdir(exist_ok=True)
    written = pages()
    for path in folder.iterdir():
        if path.name not in written:
            path.unlink()
    for name, text in written.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _page(room: str, names: list[str]) -> str:
    module = importlib.import_module(room)
    entries = "\n".join(_entry(room, name, getattr(module, name)) for name in names)
    return f"{room}\n{'=' * len(room)}\n\n.. automodule:: {room}\n   :no-members:\n\n{entries}"


def _entry(room: str, name: str, value: object) -> str:
    if inspect.isclass(value):
        return f".. autoclass:: {name}\n"
    if inspect.isroutine(value):
        return f".. autofunction:: {name}\n"
    return _data(name, origins(room)[name], value)


def _data(name: str, module: str, value: object) -> str:
    """A constant has no docstring of its own: it is the string below it in the source."""
    body = iter(ast.parse(inspect.getsource(importlib.import_module(module))).body)
    for node in body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            break
    match next(body, None):
        case ast.Expr(ast.Constant(str(doc))):
            text = inspect.cleandoc(doc)
        case _ if type(value) is tuple or hasattr(value, "__args__"):
            text = f"``{value!r}``"
        case _:
            text = f"A `{type(value).__name__}`."
    indented = text.replace("\n", "\n   ")
    return f".. py:data:: {name}\n\n   {indented}\n"
