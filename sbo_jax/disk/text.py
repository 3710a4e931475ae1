"""Files that are never half written: texts, JSON lines, and whatever a library writes."""

import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from .claims import claim_file
from .paths import local_path, own_temporary

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
    temporary = own_temporary(path)
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:  # which does not name a file on a full disk
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def create_text(path: Path, text: str) -> bool:
    """The whole text, where no file is; of several processes one creates it, the others get False.

    The disk must know hard links.
    """
    own = own_temporary(path)
    try:
        own.write_text(text, encoding="utf-8")
        os.link(own, path)
    except FileExistsError:
        return False
    finally:
        own.unlink(missing_ok=True)
    return True


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A folder to write files into, each of which then takes its place in this one.

    Processes that write the same files at once leave whole ones, each from one of them.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".", suffix=".tmp") as new:
        yield Path(new)
        for path in sorted(Path(new).iterdir()):
            try:
                os.replace(path, folder / path.name)
            except OSError as error:  # which names the file that is gone soon
                raise OSError(error.errno, error.strerror, str(folder / path.name)) from error
