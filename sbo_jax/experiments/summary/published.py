"""What others reach, from FOLDER/published.toml.

    [sources.fastgrnn]
    reference = "Kusupati et al., FastGRNN. NeurIPS 2018, Table 3."
    url = "https://arxiv.org/abs/1901.02358"

    [[tasks]]
    task = { name = "har2" }     # and length, train_fraction, where they set it apart
    metric = "accuracy"          # in per cent; other metrics as they are
    remark = "..."               # optional: what cannot be said by a number
    numbers = [
      { network = "GRU", value = 93.62, kilobytes = 71, source = "fastgrnn" },
      { network = "SBO-RNN", value = 85, to = 90, parameters = 18_000, source = "fastgrnn" },
    ]

Values keep the digits that they have here. `to` is the upper end of a range, read off a curve. Of
`parameters`, read off an axis, the page says "about".
"""

import math
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import msgspec

from ..._checks import check_choice
from ...runs.folder.arrays import first_line
from ...training.objectives import OBJECTIVES
from ..variant import Variant

OURS = "SBO-RNN"
"""The network's name there, and the beginning of its name in a report."""

# A fraction in percent is what is published only up to that.
_ROUNDING = 1e-9

_Count = Annotated[int, msgspec.Meta(ge=1)]


class Source(msgspec.Struct, forbid_unknown_fields=True):
    """Where numbers were read."""

    reference: str
    url: str


class Number(msgspec.Struct, forbid_unknown_fields=True):
    """What one source says of one network."""

    network: str
    value: Decimal
    source: str
    to: Decimal | None = None
    parameters: _Count | None = None
    kilobytes: Decimal | None = None

    @property
    def is_ours(self) -> bool:
        return self.network == OURS


class Published(msgspec.Struct, forbid_unknown_fields=True):
    """What is published of a task."""

    task: Variant
    metric: str
    numbers: list[Number] = []
    remark: str = ""

    def ranked(self) -> list[Number]:
        """The best first."""
        reverse = OBJECTIVES[self.metric].higher_is_better
        return sorted(self.numbers, key=lambda number: number.value, reverse=reverse)

    def best(self, *, is_ours: bool) -> Number | None:
        """The best number of SBO-RNN, or of other networks."""
        return next((number for number in self.ranked() if number.is_ours is is_ours), None)

    def printed(self, number: Number) -> str:
        """The value with its unit, as it is published."""
        text = f"{number.value}" if number.to is None else f"{number.value} to {number.to}"
        return f"{text} %" if self._unit < 1 else text

    def value(self, number: Number) -> float:
        """In the unit of a report; the middle of a range."""
        middle = number.value if number.to is None else (number.value + number.to) / 2
        return float(middle) * self._unit

    def against(self, number: Number, ours: float) -> str:
        """Whether `ours`, in the unit of a report, reaches the number, and how far it is from it.

        Whatever lies within a range reaches it.
        """
        objective = OBJECTIVES[self.metric]
        low, high = float(number.value), float(number.value if number.to is None else number.to)
        ours /= self._unit
        nearest = min(max(ours, low), high)
        if math.isclose(ours, nearest, rel_tol=_ROUNDING):
            return "reached"
        gap = ours - nearest
        size = f"{abs(gap):.2f} points" if self._unit < 1 else f"{abs(gap):.3g}"
        is_better = (gap > 0) is objective.higher_is_better
        return f"reached, {size} better" if is_better else f"short by {size}"

    @property
    def _unit(self) -> float:
        """What 1 of a printed value is in a report, where an accuracy is a fraction."""
        return 0.01 if self.metric == "accuracy" else 1.0


class _File(msgspec.Struct, forbid_unknown_fields=True):
    sources: dict[str, Source] = {}
    tasks: list[Published] = []


def read_published(path: Path) -> tuple[Mapping[Variant, Published], Mapping[str, Source]]:
    """What is published by task, and its sources in their order; nothing where there is no file.

    Raises:
      ValueError: the file is damaged, with the place in it.
    """
    if not path.exists():
        return {}, {}
    try:
        content: Any = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        file = msgspec.convert(content, _File)
        for number, task in enumerate(file.tasks):
            _check(task, f"tasks[{number}]", file.sources)
        found = {task.task: task for task in file.tasks}
        if len(found) < len(file.tasks):
            raise ValueError("two entries of tasks for one task")
    except (ValueError, RecursionError) as error:  # deep brackets end in the latter
        raise ValueError(
            f"expected published numbers in {path}, got {first_line(error)}"
        ) from error
    return found, file.sources


def _check(published: Published, place: str, sources: Mapping[str, Source]) -> None:
    check_choice(f"{place}.metric", published.metric, OBJECTIVES)
    for index, number in enumerate(published.numbers):
        field = f"{place}.numbers[{index}]"
        check_choice(f"{field}.source", number.source, sources)
        for name in ("value", "to", "kilobytes"):
            value = getattr(number, name)
            if value is not None and not (value.is_finite() and value > 0):
                raise ValueError(f"{field}.{name} = {value}, not a positive number")
        if number.to is not None and number.to <= number.value:
            raise ValueError(f"{field}.to = {number.to}, not above its value, {number.value}")
