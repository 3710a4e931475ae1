"""The training methods that a configuration names."""

from functools import lru_cache, partial
from typing import assert_never

import optax
from flax import nnx

from ..linear_solvers import Neumann
from ..relaxations.block_coordinate import block_coordinate_descent
from ..relaxations.lagrangian import augmented_lagrangian
from ..relaxations.network import Relaxation
from ..relaxations.penalty import penalty_method
from ..relaxations.states import gauss_newton
from ..tasks._types import Recipe
from ..training.augment import with_augmented_samples
from ..training.averaging import averaged
from ..training.learn_hyper import learning_hyperparameters
from ..training.method import Method
from ..training.objectives import Objective
from ..training.optimizer import default_optimizer
from ..training.relaxed import by_relaxation, check_relaxable, check_relu, network, relu_network
from ..training.smoothing import with_smooth_labels
from ..training.step import bptt
from .config import TrainConfig
from .config.conditions import LARGEST_PENALTY
from .config.training import Training, Upper

# How many training steps an implicit hypergradient looks ahead.
_NEUMANN_STEPS = 10
# Under Adam's root, small beside its epsilon squared: gives a derivative where a gradient is 0.
_EPS_ROOT = 1e-17


def method(
    config: TrainConfig,
    objective: Objective,
    model: nnx.Module,
    recipe: Recipe,
    epoch_steps: int,
) -> Method:
    """The method of training that a configuration names.

    Raises:
      ValueError: a model that the method cannot train, or a batch that it cannot cut.
    """
    if config.method.learn_hyper:
        return _learning(config, recipe, epoch_steps)
    magnitudes = config.augmentation.magnitudes
    seed = config.run.seed if config.upper.gradient_noise or magnitudes else 0
    schedule = config.upper, recipe.upper_rate, recipe.epochs * epoch_steps, seed
    optimizer = partial(_optimizer, *schedule)
    match config.method.training:
        case "bptt":
            return _by_gradient(*schedule, recipe.average, recipe.label_smoothing, magnitudes)
        case "penalty":
            check_relaxable(model)
            return by_relaxation(network, _penalty(config.method, optimizer(), epoch_steps))
        case "lagrangian":
            check_relaxable(model)
            return by_relaxation(network, _lagrangian(config.method, optimizer()))
        case "bcd":
            check_relu(objective, model)
            return by_relaxation(relu_network, _blocks(config.method))
        case _:
            assert_never(config.method.training)


@lru_cache(maxsize=32)
def _by_gradient(
    upper: Upper,
    upper_rate: float,
    num_steps: int,
    seed: int,
    average: float,
    smoothing: float,
    magnitudes: tuple[tuple[str, float], ...],
) -> Method:
    """One object for equal numbers, as what is compiled for a method is kept by its identity."""
    method = bptt(_optimizer(upper, upper_rate, num_steps, seed))
    if smoothing:
        method = with_smooth_labels(method, smoothing)
    if magnitudes:
        method = with_augmented_samples(method, magnitudes, seed)
    if average:
        method = averaged(method, average, upper.warmup_steps(num_steps))
    return method


def _optimizer(
    upper: Upper, upper_rate: float, num_steps: int, seed: int = 0, *, eps_root: float = 0.0
) -> optax.GradientTransformation:
    return default_optimizer(
        upper_rate,
        num_steps,
        upper.clip,
        warmup=upper.warmup_steps(num_steps),
        weight_decay=upper.weight_decay,
        noise=upper.gradient_noise,
        seed=seed,
        eps_root=eps_root,
    )


def _learning(config: TrainConfig, recipe: Recipe, epoch_steps: int) -> Method:
    """Both rates, of parameters and of hyper-parameters, fall to 0 along a cosine."""
    steps, window = recipe.epochs * epoch_steps, config.method.hyper_window or 1
    if recipe.batch_size % window:
        raise ValueError(
            f"expected a batch size that {window} steps can share, got {recipe.batch_size}; try "
            f"--batch-size {window * recipe.batch_size}"
        )
    optimizer = _optimizer(config.upper, recipe.upper_rate, steps * window, eps_root=_EPS_ROOT)
    hyper_rate = optax.cosine_decay_schedule(config.method.hyper_rate or 0.1, steps)
    implicit = config.method.hypergradient == "implicit"
    return learning_hyperparameters(
        config.method.learn_hyper,
        optimizer,
        optax.adam(hyper_rate),
        window=window,
        linear_solver=Neumann(recipe.upper_rate, _NEUMANN_STEPS) if implicit else None,
        seed=config.run.seed,
    )


def _penalty(
    chosen: Training, optimizer: optax.GradientTransformation, epoch_steps: int
) -> Relaxation:
    schedule = _growing(chosen.penalty or 10.0, chosen.penalty_growth or 1.1, epoch_steps)
    return penalty_method(optimizer, schedule, gauss_newton(chosen.rounds or 1))


def _lagrangian(chosen: Training, optimizer: optax.GradientTransformation) -> Relaxation:
    return augmented_lagrangian(
        optimizer,
        chosen.penalty or 10.0,
        gauss_newton(),
        growth=chosen.penalty_growth or 2.0,
        rounds=chosen.rounds or 3,
    )


def _blocks(chosen: Training) -> Relaxation:
    return block_coordinate_descent(
        chosen.penalty or 1.0,
        prox=chosen.proximity or 1.0,
        sweeps=chosen.rounds or 1,
    )


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
