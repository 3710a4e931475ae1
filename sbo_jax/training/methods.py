"""The training methods that a configuration names."""

from collections.abc import Callable
from functools import partial
from typing import Any

import optax
from flax import nnx

from ..relaxations import Relaxation, augmented_lagrangian, block_coordinate, gauss_newton, penalty
from .config import TrainConfig
from .objectives import Objective
from .relaxed import check_relaxable, check_relu, network, relaxed_step, relu_network
from .step import train_step

# In float32 the residual is mostly rounding beyond.
_LARGEST_PENALTY = 1000.0

Method = tuple[optax.GradientTransformation | Relaxation, Callable[..., Any]]


def method(
    config: TrainConfig,
    objective: Objective,
    model: nnx.Module,
    optimizer: optax.GradientTransformation,
    epoch_steps: int,
) -> Method:
    """What has the init, and the step that `fit` takes; ValueError for a model it cannot train."""
    if config.training == "bptt":
        return optimizer, train_step
    blocks = config.training == "bcd"
    (check_relu if blocks else check_relaxable)(objective, model)
    make_network = relu_network if blocks else network
    return _relaxation(config, optimizer, epoch_steps), partial(relaxed_step, make_network)


def _relaxation(
    config: TrainConfig, optimizer: optax.GradientTransformation, epoch_steps: int
) -> Relaxation:
    start = config.penalty or (1.0 if config.training == "bcd" else 10.0)
    match config.training:
        case "bcd":
            return block_coordinate(start, prox=config.proximity or 1.0, sweeps=config.rounds or 1)
        case "lagrangian":
            growth, rounds = config.penalty_growth or 2.0, config.rounds or 3
            return augmented_lagrangian(
                optimizer, start, gauss_newton(), growth=growth, rounds=rounds
            )
        case _:
            schedule = _growing(start, config.penalty_growth or 1.1, epoch_steps)
            return penalty(optimizer, schedule, gauss_newton(config.rounds or 1))


def _growing(start: float, growth: float, epoch_steps: int) -> optax.Schedule:
    """`start` times `growth` after every epoch, never above the larger of start and 1000."""
    if growth == 1:
        return optax.constant_schedule(start)
    return optax.exponential_decay(
        start,
        epoch_steps,
        growth,
        staircase=True,
        end_value=max(start, _LARGEST_PENALTY),
    )
