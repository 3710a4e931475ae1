"""What the cells of one table must share: their samples, where a user's own files hold them."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..disk.text import Json
from .results import RESULT, RESULTS, read_lines


def samples_of(described: Mapping[str, Any]) -> Json | None:
    """Of a user's own data their path, and a checksum of all that is read there and how.

    Args:
      described: what config.json says of a run.
    """
    if "sha256" not in described["task"]:
        return None
    read = [described["task"]["sha256"], described.get("layout")]
    text = json.dumps(read, sort_keys=True, default=str)
    path = described["config"]["folder"]
    return {"path": path, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def check_same_samples(out: Path, own: Json | None) -> None:
    """ValueError if a cell that is done in this folder had other samples under the same path."""
    if own is None:
        return
    for line in _lines(out):
        other = line["summary"].get("samples")
        if other and other["path"] == own["path"] and other["sha256"] != own["sha256"]:
            raise ValueError(
                f"expected the samples of the cells that are done, got others: {own['path']}, or "
                f"its description, has changed since {line['name']!r} was trained; choose another "
                f"folder with --out"
            )


def _lines(out: Path) -> Iterator[Json]:
    collected = out / RESULTS
    for path in (*([collected] if collected.exists() else []), *out.glob(f"cells/*/{RESULT}")):
        yield from read_lines(path)
