"""What a run writes of its epochs, one JSON line each, checked before the run goes on."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Any

from ...disk.text import Json
from .arrays import CheckpointError

_WHOLE, _NUMBER, _ANY_NUMBER = (int,), (float,), (float, NoneType)
# What a line of a file has, each of these types; what else there is in it is a measure.
_FILES: dict[str, dict[str, tuple[type, ...]]] = {
    "metrics.jsonl": {
        "epoch": _WHOLE,
        "step": _WHOLE,
        "train_loss": _ANY_NUMBER,
        "validation_loss": _NUMBER,
        "validation": _NUMBER,
        "eta_max": _ANY_NUMBER,
    },
    "timing.jsonl": {"epoch": _WHOLE, "seconds": _NUMBER},
    "test_epochs.jsonl": {"epoch": _WHOLE, "step": _WHOLE, "test": _ANY_NUMBER},
    "gradient_flow.jsonl": {
        "epoch": _WHOLE,
        "step": _WHOLE,
        "ratio": _ANY_NUMBER,
        "largest": _ANY_NUMBER,
        "smallest": _ANY_NUMBER,
    },
}
# Its first line is of the model before the first step, the other files' of epoch 1.
_FROM_EPOCH_0 = "gradient_flow.jsonl"
NAMES = tuple(_FILES)


def lines_up_to(epoch: int, path: Path) -> list[str]:
    """The lines of a file for the epochs up to this one, none where there is no file.

    Raises:
      CheckpointError: they are not what a run writes, or metrics.jsonl lacks an epoch.
    """
    most = epoch + 1 if path.name == _FROM_EPOCH_0 else epoch
    texts = _text(path).splitlines(keepends=True)[:most]
    lines = [_line(path, number, text) for number, text in enumerate(texts, 1)]
    for number, line in enumerate(lines, 1):
        if line.keys() != lines[0].keys():
            raise _no_line(path, number, "other names than in line 1")
    epochs = [line["epoch"] for line in lines]
    expected = list(range(1, epoch + 1))
    if path.name != "metrics.jsonl":  # what was lost of the others is not missed
        expected = sorted(set(epochs))
    if epochs != expected:
        raise CheckpointError(
            f"expected the epochs 1 to {epoch} in {path}, got {_shown(epochs)}; put the file back "
            f"as it was"
        )
    return [text for text, line in zip(texts, lines, strict=True) if line["epoch"] <= epoch]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.exists() else ""
    except ValueError as error:
        raise CheckpointError(
            f"expected text in {path}, got {error!r:.200}; put the file back as it was"
        ) from error


def _line(path: Path, number: int, text: str) -> Json:
    """What is in this line; CheckpointError unless a run writes such a line into such a file."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _no_line(path, number, repr(error)) from error
    if not isinstance(line, dict):
        raise _no_line(path, number, repr(line))
    types = dict.fromkeys(line, _ANY_NUMBER) | _FILES[path.name]
    for name, allowed in types.items():
        if name not in line:
            raise _no_line(path, number, f"none of {name!r}")
        if not _is_one(line[name], allowed):
            raise _no_line(path, number, f"{line[name]!r:.80} for {name!r}")
    return line


def _is_one(value: Any, types: Sequence[type]) -> bool:
    """Of exactly these types: to Python, True is a whole number."""
    return type(value) in types and (not isinstance(value, float) or math.isfinite(value))


def _no_line(path: Path, number: int, got: str) -> CheckpointError:
    return CheckpointError(
        f"expected lines of metrics, as a run writes them, in {path}, got {got:.200} in line "
        f"{number}; put the file back as it was"
    )


def _shown(epochs: Sequence[int]) -> str:
    return f"{list(epochs)!r:.100}"
