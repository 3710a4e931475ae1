"""The training loop: epochs over a task, each followed by a look at the validation split."""

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from flax import nnx
from jax.sharding import Mesh

from ..devices.mesh import (
    PER_SAMPLE,
    check_divides,
    compiled,
    mesh_for_batch,
    own_share,
    put,
    put_whole,
)
from ..devices.waiting import wait_for
from ..nn.lower_report import LowerReport
from ..tasks._types import Source, Task
from ..tasks.loader import evaluation_batches, training_batches
from .losses import STEPS_PER_LOOK, Losses, OnStep, check_finite, mean
from .method import OF_STEP, GraphDef, Method, TrainState
from .objectives import Objective
from .selection import Score, Selection, by_metric
from .step import (
    OF_EVALUATION,
    Totals,
    eval_step,
    init_state,
    merge,
    put_fresh,
    put_state,
    whole_state,
)

# Called between the batches of an evaluation; may raise KeyboardInterrupt.
BetweenBatches: TypeAlias = Callable[[], None]

_UNLOGGED = ("is_best", "state", "losses", "measures")
_NONE: Mapping[str, tuple[float, ...]] = MappingProxyType({})


class Epoch(NamedTuple):
    """What is known after an epoch; `validation` is None in one that Ctrl-C cut short.

    ``train_loss`` is None where that was before the first step.

    ``losses`` has the training loss of every step of the epoch, ``measures`` what else a step
    reported, by name; `state` is what came after them, on one device of this process. The numbers
    are those of the model that the method keeps of it.
    """

    epoch: int
    step: int
    train_loss: float | None
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
        return logged | {name: mean(values) for name, values in self.measures.items()}


class Start(NamedTuple):
    """Where training goes on.

    Args:
      state: the upper level after all steps so far.
      epoch: epochs that are complete.
      losses: of the steps in the epoch after those.
      best: score of the best epoch so far, None before there is one.
      measures: of the same steps as `losses`.
    """

    state: TrainState
    epoch: int
    losses: tuple[float, ...]
    best: Score | None
    measures: Mapping[str, tuple[float, ...]] = _NONE


def steps_per_epoch(task: Task, batch_size: int) -> int:
    """Full batches in an epoch of `task`."""
    most = min(task.epoch_size, len(task.train))
    if not 1 <= batch_size <= most:
        raise ValueError(
            f"expected a batch size between 1 and the {most} training samples of {task.name}, got "
            f"{batch_size}; try --batch-size {min(64, most)}"
        )
    return task.epoch_size // batch_size


class Evaluator:
    """Mean loss and mean metric of a source; one compiled step serves every source."""

    def __init__(
        self,
        objective: Objective,
        graphdef: GraphDef,
        batch_size: int,
        mesh: Mesh,
        between_batches: BetweenBatches = lambda: None,
    ):
        self.batch_size, self.mesh, self._between_batches = batch_size, mesh, between_batches
        self._graphdef, self._reported = graphdef, objective.reported
        self._eval_step = compiled(mesh, OF_EVALUATION, eval_step, objective, graphdef)

    def __call__(self, state: TrainState, source: Source) -> tuple[float, float]:
        state = put_fresh(self.mesh, self._graphdef, state, self.batch_size)
        totals: list[Totals] = []
        for batch in evaluation_batches(source, self.batch_size, own_share()):
            self._between_batches()
            added, carry = self._eval_step(state, put(self.mesh, PER_SAMPLE, batch))
            state = state._replace(carry=carry)
            totals.append(added)
            if len(totals) % STEPS_PER_LOOK == 0:  # bounds the batches that wait on the device
                self._wait(totals)
        self._wait(totals)
        loss, metric, num_samples = (
            math.fsum(float(value) for value in column) for column in zip(*totals, strict=True)
        )
        return loss / num_samples, self._reported(metric / num_samples)

    @staticmethod
    def _wait(totals: list[Totals]) -> None:
        wait_for(f"evaluation of batch {len(totals)}", totals[-1])


def fit(
    model: nnx.Module,
    task: Task,
    objective: Objective,
    method: Method,
    *,
    epochs: int,
    batch_size: int,
    seed: int = 0,
    select: Selection = by_metric,
    start: Start | None = None,
    mesh: Mesh | None = None,
    on_step: OnStep = lambda step, loss: None,
    between_batches: BetweenBatches = lambda: None,
) -> Iterator[Epoch]:
    """Train, yielding after every epoch; `model` itself is left as it was.

    A generator: the caller decides what to keep and when to stop. Batches are a function of `seed`
    and the step alone, so that a run that goes on from `start` equals one that never stopped.
    `select` scores epochs, of which the best are marked.
    A KeyboardInterrupt, from `on_step`, from `between_batches` of an evaluation or from Ctrl-C,
    ends the current epoch early, which is then the last one yielded. Batches are split over the
    data axis of `mesh`, by default as `mesh_for_batch` has it.

    Raises:
      ValueError: a batch size that the devices cannot share.
      Diverged: a loss, the metric or a measure became NaN or infinite; names the step, eta and its
        bound. No epoch with such a number is yielded.
    """
    graphdef, state = init_state(model, method, batch_size)
    fresh = state.carry
    state, first, seen, best, measured = start or Start(state, 0, (), None)
    mesh = mesh or mesh_for_batch(batch_size)
    check_divides(mesh, batch_size)
    state = put_state(mesh, state)
    step_fn = compiled(mesh, OF_STEP, method.step, objective, graphdef)
    evaluate = Evaluator(objective, graphdef, batch_size, mesh, between_batches)
    num_steps = steps_per_epoch(task, batch_size)
    position = first * num_steps + len(seen)
    batches = training_batches(task.train, batch_size, seed=seed, start=position, share=own_share())
    for epoch in range(first + 1, epochs + 1):
        if not seen:  # a pass over the windows of a text begins at its beginning
            state = state._replace(carry=put_whole(mesh, PER_SAMPLE, fresh))
        losses = Losses((epoch - 1) * num_steps, seen, measured, graphdef, state, on_step)
        validation_loss = validation = None
        try:
            for _ in range(len(seen), num_steps):
                state, info = step_fn(state, put(mesh, PER_SAMPLE, next(batches)))
                losses.add(info, state)
            losses.look()
            validation_loss, validation = evaluate(
                method.kept(whole_state(mesh, state)), task.validation
            )
        except KeyboardInterrupt:
            state = losses.state  # yielded below without a validation
        is_best = False
        if validation is not None and validation_loss is not None:
            score = select(objective, epoch, validation, validation_loss)
            is_best = best is None or score > best
            best = score if is_best else best
        reached = whole_state(mesh, state)
        eta_max = LowerReport.of(merge(graphdef, method.kept(reached))).eta_max
        known = losses.step, losses.mean, validation_loss, validation, eta_max
        after = Epoch(epoch, *known, is_best, reached, tuple(losses.seen), losses.measures)
        numbers = {f"validation {objective.metric_name}": validation}
        check_finite(numbers | after.metrics(), losses.step, graphdef, reached)
        yield after
        if validation is None:
            return
        seen, measured = (), {}
