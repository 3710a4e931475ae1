"""Paths that a user gives, checked before anything is read or written."""

import os
import re
from pathlib import Path
from secrets import token_hex

_LONGEST_NAME = 255


def local_path(path: str | os.PathLike[str], error: type[ValueError] = ValueError) -> Path:
    """The path on this machine, with a leading ``~`` expanded.

    Raises:
      `error`: an address such as ``gs://bucket``, a name that no file can have, or the home of
        nobody; before anything is read or written.
    """
    text = os.fspath(path)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
        raise error(
            f"expected a path on this machine, got the address {text}; mount it, or copy the files"
        )
    if not text.isprintable():
        raise error(f"expected a path of printable characters in UTF-8, got {text!r}")
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in Path(text).parts):
        raise error(f"expected names of at most {_LONGEST_NAME} bytes, got {text[:60]}...")
    head, *rest = Path(text).parts or (text,)
    if not head.startswith("~"):
        return Path(text)
    home = Path(os.path.expanduser(head))
    if not home.is_dir():
        raise error(f"expected a home folder that exists, got {text}")
    return home.joinpath(*rest)


def temporary_beside(path: Path) -> Path:
    """Where the new content of a file is written before it takes the file's place."""
    return path.with_name(f".{path.name}.tmp")


def own_temporary(path: Path) -> Path:
    """The same where several may write the file at once: a name that nobody else has."""
    return path.with_name(f".{path.name}.{token_hex(4)}.tmp")


def is_temporary(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".tmp")
