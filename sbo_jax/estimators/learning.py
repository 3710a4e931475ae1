"""From parameters and samples to a `TrainedRun`: what `train.py --task folder` does, in memory."""

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..runs.config import TrainConfig
from ..runs.divergence import explained
from ..runs.folder.description import describe
from ..runs.learning import Course, learn
from ..runs.preparation import Prepared, prepare
from ..runs.run import summarised
from ..tasks._types import Task
from ..trained import TrainedRun
from ..training.losses import Diverged
from ..training.objectives import weighted
from ..training.step import merge

# Where the data set of a run is, to messages.
_PLACE = "memory"


def learned(
    parameters: Mapping[str, Any],
    task: Task,
    *,
    seed: int,
    verbose: bool,
    class_weights: np.ndarray | None = None,
) -> TrainedRun:
    """The best model by validation of a run with these parameters.

    On one accelerator, or the CPU devices there are.

    Args:
      parameters: options of `TrainConfig` by name; other names have no effect.
      task: the samples, some of them for validation.
      seed: of the parameters and of the order of the batches.
      verbose: whether every epoch prints a line.
      class_weights: [K], of the loss of every class; None for those of the parameters.

    Raises:
      ValueError: parameters that contradict each other or the data, in one sentence.
      Diverged: training did, in its first epoch. Later, it warns, and the best model is kept.
    """
    options = {n: _plain(x) for n, x in parameters.items() if n in TrainConfig.options()}
    # A batch may not divide by the accelerators there are, and nobody could name fewer.
    mesh = None if jax.default_backend() == "cpu" else "data=1"
    with _of_parameters():
        config = TrainConfig.of(
            task="folder", folder=_PLACE, seed=seed, split_seed=seed, mesh=mesh, **options
        )
        prepared = prepare(config, lambda data: task)
    if class_weights is not None:
        weights = class_weights.tolist()
        task = replace(task, facts={**task.facts, "class_weights": weights})
        prepared = prepared._replace(objective=weighted(tuple(weights)), task=task)
    course = Course(prepared)
    try:
        learn(prepared, course, *_reporters(prepared, verbose))
    except Diverged as error:
        why = explained(error, prepared)
        why = Diverged(_as_parameters(why.what), _as_parameters(why.advice))
        if course.best is None:
            raise why from error
        warnings.warn(f"training ended early: {why}", ConvergenceWarning, stacklevel=4)
    return _run(prepared, course)


def _run(prepared: Prepared, course: Course) -> TrainedRun:
    assert course.best is not None
    model = merge(prepared.init()[0], course.best.state)
    model.eval()
    content = describe(prepared.config, prepared.recipe, prepared.task)
    return TrainedRun(model, content, summarised(prepared, course))


def _reporters(prepared: Prepared, verbose: bool) -> list[Any]:
    if not verbose:
        return []
    from ..runs.watching.reporters import EpochLines  # which imports tqdm

    return [EpochLines(prepared)]


def _plain(value: Any) -> Any:
    """Python's number for NumPy's, which searches over a grid hand in."""
    return value.item() if isinstance(value, np.generic) else value


@contextmanager
def _of_parameters() -> Iterator[None]:
    """Errors about options become those about parameters."""
    try:
        yield
    except ValueError as error:
        raise type(error)(_as_parameters(str(error))) from error


def _as_parameters(text: str) -> str:
    """A sentence about ``--upper-rate`` as one about ``upper_rate``."""
    return re.sub("--[a-z-]+", lambda flag: flag[0][2:].replace("-", "_"), text)
