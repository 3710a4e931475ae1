"""The metrics of a run as TensorBoard event files, written by tensorboardX, without TensorFlow."""

import importlib.util
from pathlib import Path
from typing import Any

from ..training.fit import Epoch


class EventFile:
    """A reporter that writes a run's metrics to `folder`, one point an epoch; a context manager.

    A run that goes on takes back the points after the step where it does.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._writer: Any = None

    def step(self, step: int, loss: float) -> None:
        pass

    def epoch(self, report: Epoch) -> None:
        self._writer = self._writer or _writer(self._folder, report.step)
        for name, value in report.metrics().items():
            if value is not None and name != "step":
                self._writer.add_scalar(name, value, report.step)
        self._writer.flush()

    def __enter__(self) -> "EventFile":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer:
            self._writer.close()


def check_installed() -> None:
    """ValueError unless the extra `tensorboard` is."""
    if importlib.util.find_spec("tensorboardX") is None:
        raise ValueError(
            "expected tensorboardX for --tensorboard, which is not installed; try "
            "pip install -e '.[tensorboard]'"
        )


def _writer(folder: Path, first_step: int) -> Any:
    from tensorboardX import SummaryWriter  # an extra, and a second to import

    # Files are named by the second; the suffix keeps two starts within one apart.
    suffix = f".{first_step:012d}"
    return SummaryWriter(str(folder), purge_step=first_step, filename_suffix=suffix)
