"""Where a benchmark's lines go."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def check_out(out: Path | None) -> None:
    """ValueError unless the lines can be written, before anything is measured."""
    if out is None:
        return
    try:
        out.open("a").close()
    except OSError as error:
        raise ValueError(f"expected a file that can be written, got {out} ({error})") from error


def write_lines(out: Path | None, lines: Iterable[dict[str, Any]]) -> None:
    """All lines so far: a run that is stopped leaves what it measured, and a crash no half line."""
    if out:
        temporary = out.with_name(f".{out.name}.tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        os.replace(temporary, out)
