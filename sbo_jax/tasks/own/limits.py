"""Sequences that are longer than dataset.toml allows: refused, or cut without a copy."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .._types import DataError
from ..sources.ragged import Ragged
from .keys import Keep, Keys
from .table import Table


class Limit(NamedTuple):
    """At most so many steps, and which end of longer sequences is kept, if either is."""

    max_length: int
    keep: Keep | None = None

    def cut(self, sequences: Ragged) -> Ragged:
        """The kept ends, which share the values of the whole."""
        lengths = np.minimum(sequences.lengths, self.max_length)
        skipped = sequences.lengths - lengths if self.keep == "end" else 0
        return Ragged(sequences.values, sequences.starts + skipped, lengths)


def stated(content: Keys) -> Limit | None:
    """What these keys say; DataError for a length below 1, and for an end of nothing."""
    if content.max_length is None:
        if content.keep is not None:
            raise DataError("expected keep together with max_length alone; leave it out")
        return None
    if content.max_length < 1:
        raise DataError(f"expected max_length >= 1, got {content.max_length}")
    return Limit(content.max_length, content.keep)


def limited(
    parts: Mapping[str, Table], limit: Limit | None
) -> tuple[dict[str, Table], dict[str, Any]]:
    """The parts within the limit, and facts of what was cut; DataError names what is too long."""
    if limit is None:
        return dict(parts), {}
    found = {name: part.inputs.lengths - limit.max_length for name, part in parts.items()}
    if limit.keep is None:
        for name, excess in found.items():
            if (excess > 0).any():
                raise _too_long(parts[name], limit.max_length, int(np.argmax(excess > 0)))
        return dict(parts), {}
    facts = {
        name: {"cut": int((excess > 0).sum()), "steps_cut": int(excess.clip(min=0).sum())}
        for name, excess in found.items()
    }
    cut = {name: _cut(part, limit) for name, part in parts.items()}
    return cut, {"max_length": {"steps": limit.max_length, "keep": limit.keep, **facts}}


def _cut(part: Table, limit: Limit) -> Table:
    labels = limit.cut(part.labels) if isinstance(part.labels, Ragged) else part.labels
    return part._replace(inputs=limit.cut(part.inputs), labels=labels)


def _too_long(part: Table, most: int, row: int) -> DataError:
    return DataError(
        f"{part.places[row]}: expected at most max_length = {most} steps in a sequence, got "
        f'{part.inputs.lengths[row]}; add keep = "end" or "start" to cut longer ones'
    )
