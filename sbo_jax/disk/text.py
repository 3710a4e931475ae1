"""Text files that are never half written, and JSON lines among them."""

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from .claims import claim_file
from .paths import local_path, temporary_beside

Json: TypeAlias = dict[str, Any]


class JsonLines:
    """A file of JSON lines that this process alone fills; nowhere, if its path is None.

    A context manager, which lets others have the file at the end.

    Raises:
      ValueError: it cannot be written, or another process fills it.
    """

    def __init__(self, path: Path | None):
        self.path = path and local_path(path)
        if self.path and self.path.is_dir():
            raise ValueError(f"expected a file, got the folder {self.path}")
        self._claim = self.path and claim_file(self.path)

    def __enter__(self) -> "JsonLines":
        return self

    def __exit__(self, *_: object) -> None:
        if self._claim:
            self._claim.release()

    def write(self, lines: Iterable[Json]) -> None:
        """All lines so far: a stop leaves what was measured, and a crash no half line."""
        if self.path:
            replace_text(self.path, "".join(json_text(line) + "\n" for line in lines))


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
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """The whole content or what was there before, never a half."""
    temporary = temporary_beside(path)
    try:
        temporary.write_bytes(content)
    except OSError as error:  # which does not name a file on a full disk
        raise OSError(error.errno, error.strerror, str(path)) from error
    os.replace(temporary, path)
