"""The training methods that a configuration names."""

from collections.abc import Callable
from functools import partial
from typing import Any

import optax
from flax import nnx

from ..relaxations.block_coordinate import block_coordinate_descent
from ..relaxations.lagrangian import augmented_lagrangian
from ..relaxations.network import Relaxation
from ..relaxations.penalty import penalty_method
from ..relaxations.states import gauss_newton
from ..tasks._types import Recipe
from ..training.fit import default_optimizer
from ..training.hypergradients import neumann
from ..training.learn_hyper import Learning, learned_step
from ..training.objectives import Objective
from ..training.relaxed import check_relaxable, check_relu, network, relaxed_step, relu_network
from ..training.step import UpperSolver, train_step
from .config import TrainConfig
from .config.conditions import LARGEST_PENALTY

# Of training at its own step size: how far an implicit hypergradient looks ahead.
_NEUMANN_STEPS = 10
# In Adam's root, small beside its epsilon squared: a derivative at gradient 0.
_EPS_ROOT = 1e-17

Method = tuple[UpperSolver, Callable[..., Any]]


def method(
    config: TrainConfig,
    objective: Objective,
    model: nnx.Module,
    recipe: Recipe,
    epoch_steps: int,
) -> Method:
    """What has the init, and the step that `fit` takes.

    Raises:
      ValueError: a model that the method cannot train, or a batch that it cannot cut.
    """
    if config.method.learn_hyper:
        return _learning(config, recipe, epoch_steps), learned_step
    optimizer = default_optimizer(recipe.upper_rate, recipe.epochs * epoch_steps, config.upper.clip)
    if config.method.training == "bptt":
        return optimizer, train_step
    blocks = config.method.training == "bcd"
    (check_relu if blocks else check_relaxable)(objective, model)
    make_network = relu_network if blocks else network
    return _relaxation(config, optimizer, epoch_steps), partial(relaxed_step, make_network)


def _learning(config: TrainConfig, recipe: Recipe, epoch_steps: int) -> Learning:
    """As the parameters', the rate of the hyper-parameters falls to 0 along a cosine."""
    steps, window = recipe.epochs * epoch_steps, config.method.hyper_window or 1
    if recipe.batch_size % window:
        raise ValueError(
            f"expected a batch size that {window} steps can share, got {recipe.batch_size}; try "
            f"--batch-size {window * recipe.batch_size}"
        )
    optimizer = default_optimizer(
        recipe.upper_rate, steps * window, config.upper.clip, eps_root=_EPS_ROOT
    )
    hyper_optimizer = optax.adam(
        optax.cosine_decay_schedule(config.method.hyper_rate or 0.1, steps)
    )
    implicit = config.method.hypergradient == "implicit"
    solve = neumann(_NEUMANN_STEPS, recipe.upper_rate) if implicit else None
    return Learning(
        config.method.learn_hyper, optimizer, hyper_optimizer, window, solve, config.run.seed
    )


def _relaxation(
    config: TrainConfig, optimizer: optax.GradientTransformation, epoch_steps: int
) -> Relaxation:
    start = config.method.penalty or (1.0 if config.method.training == "bcd" else 10.0)
    match config.method.training:
        case "bcd":
            return block_coordinate_descent(
                start, prox=config.method.proximity or 1.0, sweeps=config.method.rounds or 1
            )
        case "lagrangian":
            growth, rounds = config.method.penalty_growth or 2.0, config.method.rounds or 3
            return augmented_lagrangian(
                optimizer, start, gauss_newton(), growth=growth, rounds=rounds
            )
        case _:
            schedule = _growing(start, config.method.penalty_growth or 1.1, epoch_steps)
            return penalty_method(optimizer, schedule, gauss_newton(config.method.rounds or 1))


def _growing(start: float, growth: float, epoch_steps: int) -> optax.Schedule:
    """`start` times `growth` after every epoch, never above the larger of start and 1000."""
    if growth == 1:
        return optax.constant_schedule(start)
    return optax.exponential_decay(
        start,
        epoch_steps,
        growth,
        staircase=True,
        end_value=max(start, LARGEST_PENALTY),
    )
