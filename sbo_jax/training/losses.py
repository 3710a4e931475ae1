"""The numbers of an epoch, read from the device a few steps at a time, and checked."""

import math
from collections.abc import Callable, Mapping, Sequence

from ..devices.mesh import local
from ..devices.waiting import wait_for
from ..nn.lower_report import LowerReport
from .method import GraphDef, TrainState, UpperInfo
from .step import merge

# Reading a loss waits for its step; the loop looks back only this often.
STEPS_PER_LOOK = 16

OnStep = Callable[[int, float], None]


class Diverged(FloatingPointError):
    """A loss, a score or a number beside them is not finite any more.

    Args:
      what: which one, and when.
      advice: what to try.
    """

    def __init__(self, what: str, advice: str):
        super().__init__(what, advice)
        self.what, self.advice = what, advice

    def __str__(self) -> str:
        return f"{self.what}; try {self.advice}"


def check_finite(
    numbers: Mapping[str, float | None], step: int, graphdef: GraphDef, state: TrainState
) -> None:
    """`Diverged` for the first of these numbers, by name, that is not finite; `state` explains."""
    for name, value in numbers.items():
        if value is not None and not math.isfinite(value):
            what = f"the {name.replace('_', ' ')} became {value} at step {step}"
            advice = "a smaller upper-level rate"
            report = LowerReport.of(merge(graphdef, local(state)))
            if report.eta_max is None:
                raise Diverged(what, advice)
            raise Diverged(
                f"{what}; {report} shortly before", f"a smaller or a normalised eta, or {advice}"
            )


def mean(values: Sequence[float]) -> float | None:
    """None where there are no values."""
    return math.fsum(values) / len(values) if values else None


class Losses:
    """The losses and measures of one epoch, read from the device a few at a time and checked.

    ``state`` is what came after the steps in ``seen``.
    """

    def __init__(
        self,
        before: int,
        seen: tuple[float, ...],
        measured: Mapping[str, tuple[float, ...]],
        graphdef: GraphDef,
        state: TrainState,
        on_step: OnStep,
    ):
        self.seen, self.state = list(seen), state
        self._before, self._graphdef, self._on_step = before, graphdef, on_step
        self._measured = {name: list(values) for name, values in measured.items()}
        self._pending: list[UpperInfo] = []
        self._latest_state = state

    @property
    def step(self) -> int:
        return self._before + len(self.seen)

    @property
    def measures(self) -> dict[str, tuple[float, ...]]:
        return {name: tuple(values) for name, values in self._measured.items()}

    def add(self, info: UpperInfo, state: TrainState) -> None:
        self._pending.append(info)
        self._latest_state = state
        if len(self._pending) == STEPS_PER_LOOK:
            self.look()

    def look(self) -> None:
        infos, self._pending = self._pending, []
        first = self.step + 1
        wait_for(f"training steps {first} to {self.step + len(infos)}", infos)
        losses = [float(info.loss) for info in infos]
        measures = [{name: float(x) for name, x in info.measures.items()} for info in infos]
        for step, (loss, measured) in enumerate(zip(losses, measures, strict=True), first):
            numbers = {"training loss": loss} | measured
            check_finite(numbers, step, self._graphdef, self.state)
        self.seen += losses
        for measured in measures:
            for name, value in measured.items():
                self._measured.setdefault(name, []).append(value)
        self.state = self._latest_state
        for step, loss in enumerate(losses, first):  # which may raise KeyboardInterrupt
            self._on_step(step, loss)

    @property
    def mean(self) -> float | None:
        return mean(self.seen)
