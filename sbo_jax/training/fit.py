"""The training loop: epochs over a task, each followed by a look at the validation split."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
import optax
from flax import nnx

from ..tasks import Source, Task
from ..tasks.loader import evaluation_batches, training_batches
from .lower_report import lower_report
from .objectives import Objective
from .step import GraphDef, TrainState, eval_step, init_state, merge, train_step

# Reading a loss waits for its step; the loop looks back only this often.
_STEPS_PER_LOOK = 16

_UNLOGGED = ("is_best", "state")

OnStep = Callable[[int, float], None]


class Diverged(FloatingPointError):
    """The training loss is no longer a number."""


class Epoch(NamedTuple):
    """What is known after an epoch; `validation` is None in one that Ctrl-C cut short."""

    epoch: int
    step: int
    train_loss: float
    validation_loss: float | None
    validation: float | None
    eta_max: float | None
    is_best: bool
    state: TrainState

    def metrics(self) -> dict[str, float | int | None]:
        """What a log keeps: a function of configuration and seed alone."""
        return {name: value for name, value in self._asdict().items() if name not in _UNLOGGED}


def default_optimizer(
    upper_rate: float, num_steps: int, clip: float = 1.0
) -> optax.GradientTransformation:
    """Adam with a cosine schedule from `upper_rate` to 0, the gradient's global norm clipped."""
    if not 0 < upper_rate < math.inf:
        raise ValueError(f"expected an upper-level rate > 0, got {upper_rate:g}; try 5e-3")
    if not 0 < clip < math.inf:
        raise ValueError(f"expected a clipping norm > 0, got {clip:g}; try 1.0")
    schedule = optax.cosine_decay_schedule(upper_rate, num_steps)
    return optax.chain(optax.clip_by_global_norm(clip), optax.adam(schedule))


def steps_per_epoch(task: Task, batch_size: int) -> int:
    """Full batches in an epoch of `task`."""
    if not 1 <= batch_size <= task.epoch_size:
        raise ValueError(
            f"expected a batch size between 1 and the {task.epoch_size} training samples of "
            f"{task.name}, got {batch_size}"
        )
    return task.epoch_size // batch_size


class Evaluator:
    """Mean loss and mean metric of a source; one compiled step serves every source."""

    def __init__(self, objective: Objective, graphdef: GraphDef, batch_size: int):
        self.batch_size = batch_size
        self._eval_step = jax.jit(partial(eval_step, objective, graphdef))

    def __call__(self, state: TrainState, source: Source) -> tuple[float, float]:
        batches = evaluation_batches(source, self.batch_size)
        totals = [self._eval_step(state, batch) for batch in batches]
        loss, metric, num_samples = (float(np.sum(values)) for values in zip(*totals, strict=True))
        return loss / num_samples, metric / num_samples


def fit(
    model: nnx.Module,
    task: Task,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    epochs: int,
    batch_size: int,
    seed: int = 0,
    on_step: OnStep = lambda step, loss: None,
) -> Iterator[Epoch]:
    """Train, yielding after every epoch; `model` itself is left as it was.

    A generator: the caller decides what to keep and when to stop. Batches are a function of `seed`
    and the step alone. Ctrl-C ends the current epoch early, which is then the last one yielded.

    Raises:
      Diverged: the loss became NaN or infinite; names the step, eta and its bound.
    """
    graphdef, state = init_state(model, optimizer)
    step_fn = jax.jit(partial(train_step, objective, optimizer, graphdef))
    evaluate = Evaluator(objective, graphdef, batch_size)
    batches = training_batches(task.train, batch_size, seed=seed)
    num_steps = steps_per_epoch(task, batch_size)
    best = objective.worst
    for epoch in range(1, epochs + 1):
        losses = _Losses((epoch - 1) * num_steps, graphdef, state, on_step)
        validation_loss = validation = None
        try:
            for _ in range(num_steps):
                state, value = step_fn(state, next(batches))
                losses.add(value, state)
            losses.look()
            validation_loss, validation = evaluate(state, task.validation)
        except KeyboardInterrupt:
            pass  # yielded below without a validation
        is_best = False
        if validation is not None and objective.better(validation, best):
            is_best, best = True, validation
        eta_max = lower_report(merge(graphdef, state)).eta_max
        yield Epoch(
            epoch, losses.step, losses.mean, validation_loss, validation, eta_max, is_best, state
        )
        if validation is None:
            return


class _Losses:
    """The losses of one epoch, read from the device a few at a time and checked."""

    def __init__(self, step: int, graphdef: GraphDef, state: TrainState, on_step: OnStep):
        self.step = step
        self._graphdef, self._on_step = graphdef, on_step
        self._seen: list[float] = []
        self._pending: list[jax.Array] = []
        self._finite_state, self._latest_state = state, state

    def add(self, loss: jax.Array, state: TrainState) -> None:
        self._pending.append(loss)
        self._latest_state = state
        if len(self._pending) == _STEPS_PER_LOOK:
            self.look()

    def look(self) -> None:
        pending, self._pending = self._pending, []
        for loss in map(float, pending):
            self.step += 1
            if not math.isfinite(loss):
                raise Diverged(self._explain(loss))
            self._seen.append(loss)
            self._on_step(self.step, loss)
        self._finite_state = self._latest_state

    @property
    def mean(self) -> float:
        return math.fsum(self._seen) / len(self._seen) if self._seen else math.nan

    def _explain(self, loss: float) -> str:
        report = lower_report(merge(self._graphdef, self._finite_state))
        return (
            f"the training loss became {loss} at step {self.step}; {report} shortly before; "
            f"try a smaller or a normalised eta, or a smaller upper-level rate"
        )
