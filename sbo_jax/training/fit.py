"""The training loop: epochs over a task, each followed by a look at the validation split."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import jax
import optax
from flax import nnx
from jax.sharding import Mesh

from ..devices.mesh import (
    PER_SAMPLE,
    REPLICATED,
    axis_to_average,
    check_divides,
    local,
    make_mesh,
    over_samples,
    own_share,
    put,
)
from ..nn.lower_report import LowerReport
from ..tasks._types import Source, Task
from ..tasks.loader import evaluation_batches, training_batches
from .method import GraphDef, Method, TrainState, UpperInfo
from .objectives import Objective
from .step import eval_step, init_state, initial_carry, merge

# Reading a loss waits for its step; the loop looks back only this often.
_STEPS_PER_LOOK = 16

_UNLOGGED = ("is_best", "state", "losses", "measures")
_NONE: Mapping[str, tuple[float, ...]] = MappingProxyType({})

OnStep = Callable[[int, float], None]


class Diverged(FloatingPointError):
    """The training loss is no longer a number."""


class Epoch(NamedTuple):
    """What is known after an epoch; `validation` is None in one that Ctrl-C cut short.

    ``losses`` has the training loss of every step of the epoch, ``measures`` what else a step
    reported, by name; `state` is what came after them, on one device of this process.
    """

    epoch: int
    step: int
    train_loss: float
    validation_loss: float | None
    validation: float | None
    eta_max: float | None
    is_best: bool
    state: TrainState
    losses: tuple[float, ...]
    measures: Mapping[str, tuple[float, ...]] = _NONE

    def metrics(self) -> dict[str, float | int | None]:
        """What a log keeps: a function of configuration and seed alone; of measures their means."""
        logged = {name: value for name, value in self._asdict().items() if name not in _UNLOGGED}
        return logged | {name: _mean(values) for name, values in self.measures.items()}


class Start(NamedTuple):
    """Where training goes on.

    Args:
      state: the upper level after all steps so far.
      epoch: epochs that are complete.
      losses: of the steps in the epoch after those.
      best: best validation so far.
      measures: of the same steps as `losses`.
    """

    state: TrainState
    epoch: int
    losses: tuple[float, ...]
    best: float
    measures: Mapping[str, tuple[float, ...]] = _NONE


def default_optimizer(
    upper_rate: float, num_steps: int, clip: float = 1.0, *, eps_root: float = 0.0
) -> optax.GradientTransformation:
    """Adam with a cosine schedule from `upper_rate` to 0, the gradient's global norm clipped.

    With ``eps_root > 0`` it can be differentiated where a gradient is 0 as well.
    """
    if not 0 < upper_rate < math.inf:
        raise ValueError(f"expected an upper-level rate > 0, got {upper_rate:g}; try 5e-3")
    if not 0 < clip < math.inf:
        raise ValueError(f"expected a clipping norm > 0, got {clip:g}; try 1.0")
    schedule = optax.cosine_decay_schedule(upper_rate, num_steps)
    return optax.chain(optax.clip_by_global_norm(clip), optax.adam(schedule, eps_root=eps_root))


def steps_per_epoch(task: Task, batch_size: int) -> int:
    """Full batches in an epoch of `task`."""
    if not 1 <= batch_size <= task.epoch_size:
        raise ValueError(
            f"expected a batch size between 1 and the {task.epoch_size} training samples of "
            f"{task.name}, got {batch_size}; try --batch-size {min(64, task.epoch_size)}"
        )
    return task.epoch_size // batch_size


class Evaluator:
    """Mean loss and mean metric of a source; one compiled step serves every source."""

    def __init__(self, objective: Objective, graphdef: GraphDef, batch_size: int, mesh: Mesh):
        self.batch_size, self.mesh = batch_size, mesh
        self._graphdef, self._reported = graphdef, objective.reported
        step = partial(eval_step, objective, graphdef, axis_name=axis_to_average(mesh))
        self._eval_step = over_samples(mesh, step)

    def __call__(self, state: TrainState, source: Source) -> tuple[float, float]:
        state = state._replace(carry=initial_carry(merge(self._graphdef, state), self.batch_size))
        state = put(self.mesh, REPLICATED, state)
        totals = []
        for batch in evaluation_batches(source, self.batch_size, own_share()):
            added, carry = self._eval_step(state, put(self.mesh, PER_SAMPLE, batch))
            state = state._replace(carry=carry)
            totals.append(added)
            if len(totals) % _STEPS_PER_LOOK == 0:  # bounds the batches that wait on the device
                jax.block_until_ready(added)
        loss, metric, num_samples = (
            math.fsum(float(value) for value in column) for column in zip(*totals, strict=True)
        )
        return loss / num_samples, self._reported(metric / num_samples)


def fit(
    model: nnx.Module,
    task: Task,
    objective: Objective,
    method: Method,
    *,
    epochs: int,
    batch_size: int,
    seed: int = 0,
    start: Start | None = None,
    mesh: Mesh | None = None,
    on_step: OnStep = lambda step, loss: None,
) -> Iterator[Epoch]:
    """Train, yielding after every epoch; `model` itself is left as it was.

    A generator: the caller decides what to keep and when to stop. Batches are a function of `seed`
    and the step alone, so that a run that goes on from `start` equals one that never stopped.
    Ctrl-C ends the current epoch early, which is then the last one yielded. Batches are split over
    the data axis of `mesh`, by default all devices.

    Raises:
      ValueError: a batch size that the devices cannot share.
      Diverged: the loss became NaN or infinite; names the step, eta and its bound.
    """
    graphdef, state = init_state(model, method, batch_size)
    fresh = state.carry
    state, first, seen, best, measured = start or Start(state, 0, (), objective.worst)
    mesh = mesh or make_mesh()
    check_divides(mesh, batch_size)
    state = put(mesh, REPLICATED, state)
    axis = axis_to_average(mesh)
    step_fn = over_samples(mesh, partial(method.step, objective, graphdef, axis_name=axis))
    evaluate = Evaluator(objective, graphdef, batch_size, mesh)
    num_steps = steps_per_epoch(task, batch_size)
    position = first * num_steps + len(seen)
    batches = training_batches(task.train, batch_size, seed=seed, start=position, share=own_share())
    for epoch in range(first + 1, epochs + 1):
        if not seen:  # a pass over the windows of a text begins at its beginning
            state = state._replace(carry=put(mesh, REPLICATED, fresh))
        losses = _Losses((epoch - 1) * num_steps, seen, measured, graphdef, state, on_step)
        validation_loss = validation = None
        try:
            for _ in range(len(seen), num_steps):
                state, info = step_fn(state, put(mesh, PER_SAMPLE, next(batches)))
                losses.add(info, state)
            losses.look()
            validation_loss, validation = evaluate(local(state), task.validation)
        except KeyboardInterrupt:
            state = losses.state  # yielded below without a validation
        is_best = False
        if validation is not None and objective.better(validation, best):
            is_best, best = True, validation
        reached = local(state)
        eta_max = LowerReport.of(merge(graphdef, reached)).eta_max
        known = losses.step, losses.mean, validation_loss, validation, eta_max
        yield Epoch(epoch, *known, is_best, reached, tuple(losses.seen), losses.measures)
        if validation is None:
            return
        seen, measured = (), {}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


class _Losses:
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
        if len(self._pending) == _STEPS_PER_LOOK:
            self.look()

    def look(self) -> None:
        infos, self._pending = self._pending, []
        losses = [float(info.loss) for info in infos]
        first = self.step + 1
        for step, loss in enumerate(losses, first):
            if not math.isfinite(loss):
                raise Diverged(self._explain(step, loss))
        self.seen += losses
        for info in infos:
            for name, value in info.measures.items():
                self._measured.setdefault(name, []).append(float(value))
        self.state = self._latest_state
        for step, loss in enumerate(losses, first):  # which may raise KeyboardInterrupt
            self._on_step(step, loss)

    @property
    def mean(self) -> float:
        return _mean(self.seen)

    def _explain(self, step: int, loss: float) -> str:
        report = LowerReport.of(merge(self._graphdef, local(self.state)))
        return (
            f"the training loss became {loss} at step {step}; {report} shortly before; "
            f"try a smaller or a normalised eta, or a smaller upper-level rate"
        )
