"""What a terminal shows of a run while it trains."""

from tqdm import tqdm

from ..devices.processes import is_first
from ..training.fit import Epoch, steps_per_epoch
from .run import Prepared
from .stopping import StopRequest


class Bar:
    """A progress bar over steps, with the loss, the last validation metric and samples/s."""

    def __init__(self, prepared: Prepared, stop: StopRequest):
        self._stop = stop
        recipe = prepared.recipe
        steps = steps_per_epoch(prepared.task, recipe.batch_size)
        self._bar = tqdm(
            total=recipe.epochs * steps * recipe.batch_size,
            unit=" samples",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not is_first(),
        )
        self._batch_size = recipe.batch_size
        self._validation = "-"

    def step(self, step: int, loss: float) -> None:
        self._bar.set_postfix_str(f"loss {loss:.4g}, validation {self._validation}", refresh=False)
        if not self._bar.n:  # a run that goes on
            self._bar.initial = self._bar.n = (step - 1) * self._batch_size
        self._bar.update(self._batch_size)
        self._stop.obey(step)

    def epoch(self, report: Epoch) -> None:
        self._validation = f"{report.validation:.4g}"
        self._bar.set_description(f"epoch {report.epoch}")

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
