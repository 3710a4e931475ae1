"""A table of a long table as arrays and texts, of which it can be made again bit for bit."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...sources.ragged import Ragged
from ..long_table.files import TableFile
from ..long_table.places import Places
from ..table import Table


class Contents(NamedTuple):
    """What a copy holds.

    Attributes:
        arrays: by name; `values` and `labels` may be large.
        texts: JSON-serialisable.
    """

    arrays: Mapping[str, np.ndarray]
    texts: Mapping[str, Any]


def of(table: Table) -> Contents:
    """All of a table but its times; the checksum must be known."""
    assert isinstance(table.places, Places)
    arrays = {
        "values": table.inputs.values,
        "lengths": table.inputs.lengths,
        "labels": table.label_values,
        "groups": table.groups,
        "splits": table.splits,
        "rows": table.places.rows,
    }
    texts = {
        "per_step": isinstance(table.labels, Ragged),
        "named_places": table.places.names is not None,
        "ends": list(table.places.ends),
        "ids": list(table.ids),
        "features": list(table.features),
        "sha256": table.known_sha256,
    }
    return Contents({name: each for name, each in arrays.items() if each is not None}, texts)


def table(contents: Contents, labelled: Sequence[TableFile]) -> Table:
    """The table; `labelled` are the files where the labels of sequences are."""
    arrays, texts = contents
    lengths, labels, ids = arrays["lengths"], arrays["labels"], texts["ids"]
    names = ids if texts["named_places"] else None
    return Table(
        Ragged.stored(arrays["values"], lengths),
        Ragged.stored(labels, lengths) if texts["per_step"] else labels,
        arrays.get("groups"),
        arrays.get("splits"),
        Places(labelled, texts["ends"], arrays["rows"], names),
        ids,
        tuple(texts["features"]),
        known_sha256=texts["sha256"],
    )
