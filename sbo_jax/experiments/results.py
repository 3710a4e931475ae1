"""What finished cells left: one file each, and the lines of all of them in one."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..disk.text import json_text
from ..runs.folder.arrays import first_line
from ..runs.folder.description import FORMAT
from .file import Cell

Line = dict[str, Any]

# In the run folder of a cell that is done, and beside all of them.
RESULT, RESULTS = "result.json", "results.jsonl"


class Results:
    """The lines of finished cells by key: of OUT/results.jsonl and of OUT/cells/KEY/result.json.

    Raises:
      ValueError: a file that holds something else, or results of another format, whose options may
        mean something else.
    """

    def __init__(self, out: Path, cells: Sequence[Cell] = ()):
        self._out, self._cells = out, cells
        self.lines: dict[str, Line] = {}
        collected = out / RESULTS
        if collected.exists():
            self._add(collected)
        self.read()

    @property
    def summaries(self) -> dict[str, Any]:
        return {key: line["summary"] for key, line in self.lines.items()}

    def read(self, more: Sequence[Cell] = ()) -> None:
        """Add those of its cells, and of more, that have been finished since, here or elsewhere."""
        for cell in (*self._cells, *more):
            path = self._out / "cells" / cell.key / RESULT
            if cell.key not in self.lines and path.is_file():
                self._add(path)

    def _add(self, path: Path) -> None:
        for line in read_lines(path):
            found = line["format"] if "format" in line else self._format_of_run(line["key"])
            if found != FORMAT:
                raise ValueError(
                    f"expected results of format {FORMAT}, got {found} in {path}; use the version "
                    f"of sbo_jax that wrote them, or choose another folder with --out"
                )
            self.lines[line["key"]] = line

    def _format_of_run(self, key: str) -> Any:
        """What config.json says, which earlier versions left to say to it alone; else None."""
        with suppress(OSError, ValueError, AttributeError):
            path = self._out / "cells" / key / "config.json"
            return json.loads(path.read_text(encoding="utf-8")).get("format")
        return None

    def write(self, path: Path) -> None:
        """All lines so far."""
        path.write_text("".join(json_text(line) + "\n" for line in self.lines.values()))

    def line(self, cell: Cell) -> Line:
        """The cell's line, with its names, published number and task as the file has them today."""
        told = {"name": cell.name, "network": cell.row, "published": cell.published}
        return self.lines[cell.key] | told | {"task": cell.task}


def read_lines(path: Path) -> list[Line]:
    """The lines in a file, each with its key and summary; ValueError for anything else."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for line in lines:
            line["key"].strip()
            line["summary"].items()
        return lines
    except OSError:
        raise
    except Exception as error:  # whatever damaged JSON makes its readers raise
        raise ValueError(
            f"expected lines of results in {path}, each with its key and summary, got "
            f"{first_line(error)}; remove what is damaged"
        ) from error
