"""What the cells of one table must share: their samples, where a user's own files hold them."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..runs.folder.description import read_config
from .results import RESULT


def check_same_samples(cells: Path, described: Mapping[str, Any]) -> None:
    """ValueError if a cell that is done in this folder had other samples under the same path.

    Args:
      cells: the folder of all cells.
      described: what config.json says of the cell that is to be trained.
    """
    samples = described["task"].get("sha256")
    if samples is None:
        return
    place = described["config"]["folder"]
    for result in sorted(cells.glob(f"*/{RESULT}")):
        if _samples(result.parent, place) not in (None, samples):
            raise ValueError(
                f"expected the samples of the cells that are done, got others: {place} has changed "
                f"since {result.parent} was trained; choose another folder with --out"
            )


def _samples(run: Path, place: str) -> str | None:
    """The checksum of what a cell read from this place; None for another place."""
    with suppress(ValueError):  # no config.json any more
        described = read_config(run)
        if described["config"]["folder"] == place:
            return described["task"].get("sha256")
    return None
