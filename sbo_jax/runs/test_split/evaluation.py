"""One look at the test split with one model."""

from collections.abc import Callable
from typing import NamedTuple

from ...disk.text import Json
from ...training.fit import BetweenBatches, Epoch, Evaluator
from ...training.losses import check_finite
from ...training.predictions import Predicted, predictions
from ...training.window_losses import window_losses
from ..preparation import Prepared
from ..scores import Row, scores
from .answers import Answers, of_samples, of_windows
from .bootstrap import intervals


class Evaluation(NamedTuple):
    """What one model reaches on the test split, and what it answered."""

    value: float
    scores: Row
    answers: Answers

    def summary(self) -> Json:
        """The metric, the scores beside it, and the 95 % interval of each by its name."""
        found = {name: ends and list(ends) for name, ends in intervals([self.answers]).items()}
        return {
            "test": self.value,
            "scores": self.scores,
            "intervals": found,
            "resampled": {"unit": self.answers.unit, "count": self.answers.num_units},
        }


UNTESTED: Json = dict.fromkeys(("test", "scores", "intervals", "resampled"))
"""The same summary of a run that was cut short before the test."""


def evaluate_on_test(
    prepared: Prepared,
    epoch: Epoch,
    between_batches: BetweenBatches,
    on_predictions: Callable[[Predicted], None],
) -> Evaluation:
    """Look at the test split with the model of an epoch.

    `on_predictions` is given what it answers, unless these are words.

    Raises:
      Diverged: the loss or the metric is not finite.
    """
    graphdef, _ = prepared.init()
    task, objective, state = prepared.task, prepared.objective, epoch.state
    batch_size, mesh = prepared.recipe.batch_size, prepared.mesh
    evaluate = Evaluator(objective, graphdef, batch_size, mesh, between_batches)
    loss, value = evaluate(state, task.test)
    numbers = {f"test {objective.metric_name}": value, "test loss": loss}
    check_finite(numbers, epoch.step, graphdef, state)
    if task.metric == "perplexity":
        over = graphdef, state, task.test, batch_size, mesh, between_batches
        return Evaluation(value, {}, of_windows(window_losses(objective, *over)))
    predicted = predictions(graphdef, state, task.test, batch_size, between_batches)
    on_predictions(predicted)
    answers = of_samples(task, predicted)
    return Evaluation(value, scores(answers), answers)
