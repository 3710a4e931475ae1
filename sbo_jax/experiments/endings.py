"""What is done as each cell ends."""

from ..devices.stopping import StopRequest
from ..disk.text import JsonLines
from .file import Cell
from .process import failure, is_done, told
from .results import Results


class Endings:
    """Collects the lines of cells that are done, and says how each one ended; ``failed`` counts."""

    def __init__(self, results: Results, file: JsonLines, stop: StopRequest):
        self.failed = 0
        self._results, self._file, self._stop = results, file, stop

    def add(self, cell: Cell, code: int | None, head: str) -> None:
        """The process of a cell has ended with this code; `head` opens the line that says so."""
        if is_done(cell, code):
            self._results.read([cell])
            self._file.write(self._results.lines.values())
            said = told(self._results.lines[cell.key]["summary"])
        elif self._stop.signal:
            said = "interrupted; the same command goes on"
        else:
            self.failed += 1
            said = failure(cell, code)
        print(f"{head}: {said}", flush=True)
