"""The lines of a small CSV file, with their numbers."""

import csv
import io
import string
from pathlib import Path

from ..._types import DataError
from ...faults import reading
from ..notation import Line, Notation


def lines_of(path: Path, notation: Notation) -> list[Line]:
    """The line number and the cells of every line; blank lines at the end do not count."""
    with reading(f"{path}: expected a CSV file that can be read, got otherwise"):
        blank = string.whitespace.replace(notation.separator, "")  # a tab may end in a gap
        text = path.read_bytes().decode(notation.codec or "").rstrip(blank)
        # a quoted label may have lines, or other characters at which str.splitlines ends one
        lines = io.StringIO(text, newline="")
        reader = csv.reader(lines, strict=True, **notation.dialect)
        rows: list[Line] = [(reader.line_num, cells) for cells in reader]
    if not rows:
        raise DataError(f"{path}: expected a CSV file, got an empty one")
    return rows
