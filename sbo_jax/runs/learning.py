"""Training until nothing better is awaited: the epochs of `fit`, and the best model of them."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Protocol, runtime_checkable

from ..devices.processes import together
from ..disk.text import Json
from ..tasks.sources.joined import joined
from ..training.fit import BetweenBatches, Epoch, Start, fit
from ..training.losses import OnStep
from ..training.method import TrainState
from ..training.refit import fit_steps
from .preparation import Prepared


@runtime_checkable
class Reporter(Protocol):
    """Who watches a run: a progress bar, an event file, a test."""

    def step(self, step: int, loss: float) -> None: ...
    def epoch(self, report: Epoch) -> None: ...


class Looks:
    """Who looks at more than training and validation losses, by default nobody.

    At the test split before training ends, or at gradients; it decides nothing.
    """

    def before(self) -> None:
        """Before the first step, and again where a run goes on."""

    def after(self, epoch: Epoch) -> None:
        """At a complete epoch, as it is judged.

        A KeyboardInterrupt has it validated again when the run goes on.
        """

    def before_refit(self, best: Epoch) -> Json | None:
        """At the model that validation chose, where another one will be trained on both splits."""

    def at_end(self, best: Epoch) -> None:
        """At the model that is kept, once it is trained."""

    def summary(self, epochs: int) -> Json:
        """What summary.json says of the test split after so many epochs, however they ended."""
        return {}


class Course:
    """How far training has come, in memory.

    ``start`` is where training goes on, None for its beginning; ``best`` is the best epoch, with
    the parameters that are kept of it; ``seconds`` is what training took, up to the newest epoch;
    ``epochs`` are complete; ``refitted`` says whether the best model was trained anew on training
    and validation samples, and ``chosen`` what the one before it reached.
    """

    def __init__(self, prepared: Prepared):
        self._recipe, self._kept = prepared.recipe, prepared.method.kept
        self._refits = prepared.config.choice.refit
        self._began = time.monotonic()
        self.seconds = 0.0
        self.best: Epoch | None = None
        self.start: Start | None = None
        self.epochs, self.refitted = 0, False
        self.chosen: Json | None = None

    @property
    def has_patience(self) -> bool:
        """Whether a better validation is still awaited."""
        since = self.epochs - (self.best.epoch if self.best else 0)
        return not self._recipe.patience or since < self._recipe.patience

    @property
    def has_ended(self) -> bool:
        """Whether nothing is left to train."""
        is_trained = self.epochs == self._recipe.epochs or not self.has_patience
        return is_trained and (self.refitted or not self._refits)

    def add(self, epoch: Epoch) -> None:
        """A complete epoch."""
        self.look_at_clock()
        self.epochs = epoch.epoch
        if epoch.is_best or self.best is None:
            self.best = self.judged(epoch)

    def stop_within(self, epoch: Epoch) -> None:
        """An epoch that was cut short; its steps so far are not lost."""
        self.look_at_clock()
        if self.best is None:
            self.best = self.judged(epoch)

    def judged(self, epoch: Epoch) -> Epoch:
        """The epoch with the parameters that the method keeps of it."""
        return epoch._replace(state=self._kept(epoch.state))

    def look_at_clock(self) -> None:
        self.seconds = time.monotonic() - self._began

    def refit(self, state: TrainState) -> None:
        """The best model, trained anew; its metrics stay those by which it was chosen."""
        assert self.best is not None
        self.best, self.refitted = self.best._replace(state=state), True

    def save(self) -> None:
        """Start to write what is not on disk yet, if anything is written."""


_NO_LOOKS = Looks()


def learn(
    prepared: Prepared,
    course: Course,
    *reporters: Reporter,
    between_batches: BetweenBatches = lambda: None,
    looks: Looks = _NO_LOOKS,
) -> None:
    """Run `fit` from where `course` stands; its best model is then what was learned.

    Training stops once patience is exhausted. If asked for, the best model is trained anew on the
    samples of validation too.

    Raises:
      KeyboardInterrupt: from Ctrl-C, a reporter or `between_batches`; the course has what there is.
      Diverged: a loss or a metric is not finite; likewise.
    """
    on_step = _telling(reporters)
    looks.before()
    _run_epochs(prepared, course, reporters, on_step, between_batches, looks)
    if prepared.config.choice.refit:
        _refit(prepared, course, on_step, looks)


def _run_epochs(
    prepared: Prepared,
    course: Course,
    reporters: Sequence[Reporter],
    on_step: OnStep,
    between_batches: BetweenBatches,
    looks: Looks,
) -> None:
    recipe = prepared.recipe
    if not course.has_patience:
        return
    epochs = fit(
        prepared.model,
        prepared.task,
        prepared.objective,
        prepared.method,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        seed=prepared.config.run.seed,
        select=prepared.select,
        start=course.start,
        mesh=prepared.mesh,
        on_step=on_step,
        between_batches=between_batches,
    )
    for epoch in epochs:
        epoch = _looked_at(epoch, course, looks)
        if epoch.validation is None:
            course.stop_within(epoch)
            raise KeyboardInterrupt
        together(partial(course.add, epoch))
        for reporter in reporters:
            reporter.epoch(epoch)
        if not course.has_patience:
            return


def _looked_at(epoch: Epoch, course: Course, looks: Looks) -> Epoch:
    """The epoch; as one without a validation where the look was cut short."""
    if epoch.validation is not None:
        try:
            looks.after(course.judged(epoch))
        except KeyboardInterrupt:
            return epoch._replace(validation=None, validation_loss=None, is_best=False)
    return epoch


def _refit(prepared: Prepared, course: Course, on_step: OnStep, looks: Looks) -> None:
    """Train anew from the same start for the steps that were best; nothing if that is done.

    Cut short, it begins again: only its end is saved.
    """
    if course.best is None or course.refitted:
        return
    together(course.save)
    course.chosen = looks.before_refit(course.best)
    state = fit_steps(
        prepared.model,
        joined(prepared.task),
        prepared.objective,
        prepared.method,
        num_steps=course.best.step,
        batch_size=prepared.recipe.batch_size,
        seed=prepared.config.run.seed,
        mesh=prepared.mesh,
        on_step=on_step,
    )
    together(lambda: course.refit(state))


def _telling(reporters: Sequence[Reporter]) -> OnStep:
    def on_step(step: int, loss: float) -> None:
        for reporter in reporters:
            reporter.step(step, loss)

    return on_step
