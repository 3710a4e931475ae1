"""The parts of a configuration that describe how the parameters are found."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Literal

from ...tasks._types import Recipe, Task
from .conditions import (
    AWAITING,
    BY_BPTT,
    BY_GRADIENT,
    BY_TRAINING_LOSS,
    CLASSES,
    GROWTH_BETWEEN_EPOCHS,
    GROWTH_BETWEEN_ROUNDS,
    IMAGES,
    LARGEST_PENALTY,
    LEARNED,
    ONE_LEVEL,
    RELAXED,
    SEPARATE_SAMPLES,
    STEPS_IN_ORDER,
    WINDOW,
    WITHOUT_EPOCHS,
    WITHOUT_LEARN_HYPER,
)
from .needs import (
    AT_LEAST_ONE,
    CLIP,
    COUNT,
    EACH_ONCE,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    UPPER_RATE,
    Entries,
    Given,
    Needs,
)
from .registry import HyperName, SelectionName

# Of a sweep where neither epochs nor updates are given.
_SWEPT_EPOCHS = 20


@dataclass(frozen=True)
class Training:
    """How the parameters are found."""

    training: Literal["bptt", "penalty", "lagrangian", "bcd"] = "bptt"
    """through all time steps, or with the hidden states as free variables: held near the
    recursion by a penalty, also by multipliers, or block by block in closed form (vanilla
    ReLU, short sequences)"""
    penalty: Annotated[float | None, POSITIVE, Needs(training=RELAXED)] = None
    """lambda of relaxed training, > 0; None: 10, bcd: 1"""
    penalty_growth: Annotated[
        float | None,
        AT_LEAST_ONE,
        Needs(training=("penalty", "lagrangian")),
        GROWTH_BETWEEN_ROUNDS,
        GROWTH_BETWEEN_EPOCHS,
    ] = None
    """factor >= 1 on lambda: after every epoch up to a lambda of 1000 (penalty: 1.1), or after a
    round in which the residual fell less than fourfold (lagrangian: 2)"""
    rounds: Annotated[int | None, COUNT, Needs(training=RELAXED)] = None
    """penalty: Newton steps of the states per batch (1); lagrangian: those, with a step of the
    multipliers between two (3); bcd: sweeps (1)"""
    proximity: Annotated[float | None, POSITIVE, Needs(training=("bcd",))] = None
    """bcd: weight > 0 that holds every block near its last value (weights: in units of their
    regression's curvature); None: 1"""
    learn_hyper: Annotated[
        tuple[HyperName, ...],
        EACH_ONCE,
        BY_BPTT,
        SEPARATE_SAMPLES,
        Entries(LEARNED),
    ] = ()
    """hyper-parameters to learn on the validation loss, as in eta,mu (jitter to affine: how much
    to change training samples); that loss also picks the epoch, so only the test split is unseen"""
    hyper_rate: Annotated[float | None, POSITIVE, Given("learn_hyper")] = None
    """Adam's step size for those, on logarithms and the like; None: 0.1"""
    hyper_window: Annotated[int | None, COUNT, Given("learn_hyper"), WINDOW] = None
    """cut each batch into this many upper-level steps, and look at the validation loss after
    them; None: 1"""
    hypergradient: Annotated[Literal["unrolled", "implicit"] | None, Given("learn_hyper")] = None
    """through those steps, or by the implicit function theorem (Neumann's series) as if training
    had converged; None: unrolled"""

    @property
    def is_of_training_loss(self) -> bool:
        """Whether the gradient of the training loss through all time steps is all that counts."""
        return self.training == "bptt" and not self.learn_hyper

    @property
    def can_have_window(self) -> bool:
        return self.hypergradient != "implicit" or self.hyper_window == 1

    @property
    def can_grow_between_rounds(self) -> bool:
        return self.training != "lagrangian" or self.rounds != 1 or self.penalty_growth == 1

    @property
    def can_grow_between_epochs(self) -> bool:
        start, growth = self.penalty or 0.0, self.penalty_growth
        return self.training != "penalty" or start < LARGEST_PENALTY or growth == 1


@dataclass(frozen=True)
class Upper:
    """The optimiser of the parameters."""

    epochs: Annotated[int | None, COUNT] = None
    """epochs: passes over the training samples that are kept, several together where an epoch is
    a handful of steps (folder); None: the task's"""
    updates: Annotated[int | None, COUNT, WITHOUT_EPOCHS] = None
    """upper-level steps in all, rounded up to whole epochs; None: the task's"""
    batch_size: Annotated[int | None, COUNT] = None
    """samples per upper-level step; None: the task's"""
    upper_rate: Annotated[float | None, UPPER_RATE, BY_GRADIENT] = None
    """Adam's step size at the start of its cosine schedule; None: the task's"""
    warmup: Annotated[float, FRACTION, BY_GRADIENT] = 0.0
    """part of the steps, in [0, 1), in which the step size first rises from 0 along a line"""
    weight_decay: Annotated[float, NOT_NEGATIVE, BY_GRADIENT, BY_TRAINING_LOSS] = 0.0
    """decoupled decay >= 0 of matrices, times the step size, and of no bias, eta or mu"""
    clip: Annotated[float, CLIP, BY_GRADIENT] = 1.0
    """largest global norm of the upper-level gradient"""
    gradient_noise: Annotated[float, NOT_NEGATIVE, BY_GRADIENT, BY_TRAINING_LOSS] = 0.0
    """variance >= 0 of normal numbers that the first step adds to its gradient after clipping; it
    falls as 1 / t^0.55"""
    average: Annotated[float | None, FRACTION, BY_BPTT, BY_TRAINING_LOSS] = None
    """validate, test and keep an exponential moving average of the parameters after the warm-up,
    in which those of a step weigh this much of those of the next, in [0, 1); None: the task's"""
    class_weight: Annotated[Literal["balanced"] | None, CLASSES, BY_BPTT] = None
    """balanced: every class weighs alike in the loss, however few samples it has"""
    label_smoothing: Annotated[float | None, FRACTION, CLASSES, BY_BPTT, BY_TRAINING_LOSS] = None
    """part of the label, in [0, 1), that all classes share in the training loss; None: the
    task's"""

    def warmup_steps(self, num_steps: int) -> int:
        """Of so many steps those in which the rate rises, and never all of them."""
        return min(round(self.warmup * num_steps), num_steps - 1)

    def recipe(self, task: Task) -> Recipe:
        """The task's recipe, with the values chosen here in place of its own."""
        recipe = changed(task.recipe, self)
        if self.epochs is not None or recipe.updates is None:
            return dataclasses.replace(recipe, updates=None)
        epoch_steps = max(1, task.epoch_size // recipe.batch_size)
        return dataclasses.replace(recipe, epochs=math.ceil(recipe.updates / epoch_steps))


@dataclass(frozen=True)
class SweptUpper(Upper):
    """The same in a sweep, where every task has the same epochs."""

    epochs: Annotated[int | None, COUNT] = None
    """passes over the training samples; None: 20, or what --updates takes"""

    def of_cell(self) -> Upper:
        is_open = self.epochs is None and self.updates is None
        return Upper(**(vars(self) | ({"epochs": _SWEPT_EPOCHS} if is_open else {})))


@dataclass(frozen=True)
class Augmentation:
    """How much training samples are changed, anew in every step; 0 leaves them as they are."""

    jitter: Annotated[float, NOT_NEGATIVE] = 0.0
    """deviation of normal noise on every number, in units of the scaled inputs"""
    scale: Annotated[float, NOT_NEGATIVE] = 0.0
    """deviation of a factor around 1 on the scaled inputs of a sample"""
    shift: Annotated[float, NOT_NEGATIVE] = 0.0
    """deviation of a shift in time of a sample, in time steps, the ends held"""
    affine: Annotated[float, NOT_NEGATIVE, IMAGES] = 0.0
    """deviation of the entries of a random map of an image around the identity, and of its move in
    units of half a side"""

    @property
    def magnitudes(self) -> tuple[tuple[str, float], ...]:
        """Those that change anything, by name."""
        return tuple((name, value) for name, value in vars(self).items() if value)


@dataclass(frozen=True)
class Choice:
    """Which model of a run is kept, on the evidence of the validation split; what is reported."""

    patience: Annotated[int | None, NOT_NEGATIVE, AWAITING] = None
    """stop after so many epochs without a better validation; 0: never; None: the task's"""
    select: SelectionName | None = None
    """the epoch that is kept has the best validation metric, the least validation loss, or the best
    metric and of equal ones the least loss, or is the last; None: the task's"""
    refit: Annotated[bool, WITHOUT_LEARN_HYPER, SEPARATE_SAMPLES] = False
    """before the test, train anew on training and validation samples, as long as was best; the
    model of that epoch is tested as well"""
    report_test_epochs: bool = False
    """also look at the test split after every epoch, into a file of its own; decides nothing"""
    report_gradient_flow: Annotated[bool, SEPARATE_SAMPLES, STEPS_IN_ORDER, ONE_LEVEL] = False
    """also measure, before the first epoch and after every one, the largest and the smallest
    ||dl/dh_t|| over the time steps of 64 validation samples, into a file of its own; l reads out
    the last state"""

    def recipe(self, recipe: Recipe) -> Recipe:
        """A recipe with the values chosen here in place of its own."""
        return changed(recipe, self)


def changed(recipe: Recipe, part: Upper | Choice) -> Recipe:
    """The recipe with those of its fields that a part of a configuration chooses."""
    names = {field.name for field in dataclasses.fields(part)}
    own = [field.name for field in dataclasses.fields(Recipe) if field.name in names]
    chosen = {name: getattr(part, name) for name in own}
    return dataclasses.replace(recipe, **{n: x for n, x in chosen.items() if x is not None})
