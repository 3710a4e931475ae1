"""What dataset.toml states of a long table.

    table = "readings.csv"      # or .csv.gz, .parquet, a list of files, a pattern like "part-*.csv"
    sequence = "run_id"         # the column that says which sequence a row belongs to
    time = "t"                  # the column that orders the rows of a sequence; default: the file
    max_gap = 0.5               # the longest step in it, in seconds where it has dates
    features = ["ax", "ay"]     # default: all other columns
    label = "activity"          # or several columns of numbers
    labels = "labels.csv"       # a second table, of the columns sequence, label, group and split
    group = "subject"
    split = "split"
    per_step = true             # every row has a label of its own
    prepared = false            # keep no copy that later starts read faster

Only table, sequence and label are required.
"""

from collections import Counter
from typing import Any

import msgspec

from ..._types import DataError
from ..notation import Notation

_OWN = (
    "sequence",
    "time",
    "max_gap",
    "features",
    "label",
    "group",
    "split",
    "per_step",
    "prepared",
)
_OTHERS = ("inputs", "offsets", "groups", "index", "sequences", "header_lines", "archive")


class LongTable(msgspec.Struct, frozen=True):
    """Files, or patterns of files, and the meaning of their columns."""

    tables: tuple[str, ...]
    sequence: str
    label: tuple[str, ...]
    notation: Notation
    time: str | None = None
    max_gap: float | None = None
    features: tuple[str, ...] | None = None
    labels: str | None = None
    group: str | None = None
    split: str | None = None
    per_step: bool = False
    prepared: bool = True

    def __post_init__(self) -> None:
        if self.max_gap is not None and (self.time is None or not self.max_gap > 0):
            got = "none" if self.time is None else f"{self.time!r} and {self.max_gap:g}"
            raise DataError(f"expected max_gap > 0 together with time, got {got}; leave it out")
        if self.per_step and self.labels is not None:
            raise DataError("expected labels of every step in the table itself; leave labels out")
        empty = [name for name in ("tables", "features") if getattr(self, name) == ()]
        if empty:
            raise DataError(f"expected one or more in the list {empty[0]}, got none")
        twice = [name for name, count in Counter(self._stated).items() if count > 1]
        if twice:
            raise DataError(f"expected a column for one purpose each, got {twice[0]!r} twice")

    @property
    def _stated(self) -> list[str]:
        columns = [self.sequence, *self.label, *(self.features or ())]
        return columns + [name for name in (self.time, self.group, self.split) if name is not None]

    @property
    def without_labels(self) -> "LongTable":
        """The same of the steps; nothing is read of sequences but their names."""
        return msgspec.structs.replace(
            self, label=(), labels=None, group=None, split=None, per_step=False
        )

    @property
    def of_sequences(self) -> dict[str, tuple[str, ...]]:
        """The columns that are constant within a sequence, by what they mean."""
        columns = {
            "label": () if self.per_step else self.label,
            "group": () if self.group is None else (self.group,),
            "split": () if self.split is None else (self.split,),
        }
        return {meaning: names for meaning, names in columns.items() if names}


def long_table(content: Any, notation: Notation) -> LongTable:
    """What the keys of dataset.toml describe; DataError for one that another layout has."""
    for name in _OTHERS:
        if getattr(content, name) is not None:
            raise DataError(f"expected either table, or {name}, got both; leave one out")
    if not content.sequence:
        raise DataError('expected sequence = "COLUMN" together with table, got none')
    label = _several(content.label or ())
    if len(label) > 1 and content.metric != "mse":
        raise DataError(
            'expected one column as label, or several and metric = "mse", got '
            f"{', '.join(label)} and no metric"
        )
    stated = {name: getattr(content, name) for name in (*_OWN, "labels")}
    given = {name: value for name, value in stated.items() if value is not None}
    return LongTable(**given | {"label": label}, tables=_several(content.table), notation=notation)


def check_absent(content: Any) -> None:
    """DataError for a key that only a long table has, in the description of another layout."""
    for name in _OWN:
        if name != "per_step" and getattr(content, name) is not None:
            raise DataError(f"expected {name} together with table alone; leave it out")


def _several(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names
