"""A task as tables of results tell it apart from others of the same name."""

import os
from pathlib import Path

import msgspec

from ..runs.config.train import Data
from ..tasks.own.description import FILE
from ..tasks.registry import NAMES, TASKS, properties

_WHOLE = 1.0  # msgspec omits a default where it is this very object


class Variant(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A task and what makes its numbers incomparable with those of its other variants.

    Attributes:
      name: in the registry of tasks.
      length: time steps, where the caller chooses them. Of a text they are no part of the task:
        they only say how far gradients go.
      train_fraction: the part of the training samples that is kept, in (0, 1].
      folder: the last part of the path of a user's own data; of a dataset.toml, of which every data
        set may have one, that of the folder that holds it.
    """

    name: str
    length: int | None = None
    train_fraction: float = _WHOLE
    folder: str | None = None

    def __post_init__(self) -> None:
        properties(self.name)
        if not 0 < self.train_fraction <= 1:
            raise ValueError(f"expected 0 < train_fraction <= 1, got {self.train_fraction:g}")

    @classmethod
    def of(cls, data: Data) -> "Variant":
        """The variant that a configuration asks for."""
        entry = properties(data.task)
        length = data.length or entry.default_length
        return cls(
            data.task,
            None if entry.is_stream else length,
            _WHOLE if data.train_fraction in (None, 1) else data.train_fraction,
            _named(data.folder) if data.folder else None,
        )

    @property
    def title(self) -> str:
        """For people: "Adding, T = 100"."""
        title = self.folder or TASKS[self.name].title or self.name
        if self.length is not None:
            title += f", T = {self.length:,}"
        return title + (f", {self.percentage} of the training samples" * (self.train_fraction < 1))

    @property
    def of_all_samples(self) -> "Variant":
        return msgspec.structs.replace(self, train_fraction=_WHOLE)

    @property
    def percentage(self) -> str:
        return f"{100 * self.train_fraction:g} %"

    @property
    def slug(self) -> str:
        """A part of the name of a file."""
        parts = [self.folder or self.name]
        if self.length is not None:
            parts.append(f"{self.length}")
        if self.train_fraction < 1:
            parts.append(f"{self.train_fraction:g}")
        return "-".join(parts)

    @property
    def place(self) -> tuple[int, str, int, float]:
        """Its place in a table: as in the registry, then shorter ones and more samples first."""
        index = NAMES.index(self.name)
        return index, self.folder or "", self.length or 0, -self.train_fraction


def _named(folder: str) -> str:
    path = Path(os.path.abspath(folder))
    return path.parent.name if path.name == FILE else path.name
