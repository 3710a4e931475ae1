"""Text files that are never half written, and JSON lines among them."""

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]


def check_out(out: Path | None) -> None:
    """ValueError unless the lines can be written, before anything is measured."""
    if out is None:
        return
    try:
        out.open("a").close()
    except OSError as error:
        raise ValueError(f"expected a file that can be written, got {out} ({error})") from error


def write_lines(out: Path | None, lines: Iterable[Json]) -> None:
    """All lines so far: a run that is stopped leaves what it measured, and a crash no half line."""
    if out:
        replace_text(out, "".join(json_text(line) + "\n" for line in lines))


def json_text(content: Any, **options: Any) -> str:
    """JSON as its standard has it: a number that is not finite is null."""
    return json.dumps(_without_nan(content), allow_nan=False, **options)


def _without_nan(content: Any) -> Any:
    match content:
        case Mapping():
            return {name: _without_nan(value) for name, value in content.items()}
        case list() | tuple():
            return [_without_nan(value) for value in content]
        case float() if not math.isfinite(content):
            return None
        case _:
            return content


def replace_text(path: Path, text: str) -> None:
    """The whole text or what was there before, never a half."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
