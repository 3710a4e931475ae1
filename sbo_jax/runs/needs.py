"""What a configuration may not say."""

import dataclasses
import math
from collections.abc import Iterator
from typing import get_type_hints

from .._checks import check_choice
from ..lower.solvers import sgd
from ..tasks.registry import check_request
from ..training.learn_hyper import LOWER
from ..training.learn_hyper import NAMES as HYPER_NAMES
from .build import PRESETS, SOLVERS
from .config import TrainConfig
from .methods import LARGEST_PENALTY
from .tensorboard import check_installed

# Fields that no other model has.
_OF_SBO = {
    "preset",
    "solver",
    "operator",
    "activation",
    "energy",
    "rank",
    "eta",
    "mu",
    "layers",
    "dropout",
    "rollout",
    "inner_steps",
    "dtype",
    "damping",
    "remat_chunk",
}


def check(config: TrainConfig) -> None:
    """ValueError for what no later step would refuse with a better sentence."""
    for name, hint in get_type_hints(TrainConfig).items():
        check_choice(name, getattr(config, name), hint)
    check_request(
        config.task, config.split_seed, config.length, config.train_fraction, config.folder
    )
    counts = ("hidden", "layers", "inner_steps", "epochs", "batch_size", "length")
    for name in (*counts, "remat_chunk", "rounds", "hyper_window"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ValueError(f"expected {name} >= 1, got {value}; leave it out for the default")
    if not 0 <= config.seed < 2**31:
        raise ValueError(f"expected 0 <= seed < 2**31, got {config.seed}; try 0")
    if config.resume and config.out is None:
        raise ValueError("expected --out RUN together with --resume, got no folder")
    if config.tensorboard:
        check_installed()
    least_of = (("penalty", 0), ("proximity", 0), ("penalty_growth", 1), ("hyper_rate", 0))
    for name, least in least_of:
        value = getattr(config, name)
        if value is not None and not (least <= value < math.inf and value > 0):
            bound = ">=" if least else ">"
            raise ValueError(f"expected a finite {name} {bound} {least}, got {value:g}")
    _check_learned(config)
    for idle in _idle_options(config):
        raise ValueError(f"expected options that have an effect, got {idle}; leave it out")


def _check_learned(config: TrainConfig) -> None:
    known = set(HYPER_NAMES)
    if len(set(config.learned)) < len(config.learned) or not known.issuperset(config.learned):
        raise ValueError(
            f"expected learn_hyper as in eta,mu, of {', '.join(HYPER_NAMES)}, each once, got "
            f"{config.learn_hyper!r}"
        )
    if config.learned and config.training != "bptt":
        raise ValueError(f"expected the training bptt with learn_hyper, got {config.training}")
    if config.hypergradient == "implicit" and (config.hyper_window or 1) > 1:
        raise ValueError(
            f"expected no window with implicit hypergradients, got {config.hyper_window}"
        )
    if config.learned and config.task == "ptb":
        raise ValueError("expected samples that stand for themselves with learn_hyper, got ptb")
    if "affine" in config.learned and config.task not in ("digits", "pixel_mnist"):
        raise ValueError(
            f"expected images, digits or pixel_mnist, to learn affine, got {config.task}"
        )


def _idle_options(config: TrainConfig) -> Iterator[str]:
    """Options that were given and would change nothing."""
    yield from _idle_with_the_task(config)
    yield from _idle_with_the_model(config)
    yield from _idle_with_the_training(config)
    yield from _idle_without_learn_hyper(config)
    yield from _idle_in_the_lower_level(config)
    yield from _idle_with_the_rollout(config)


def _idle_with_the_task(config: TrainConfig) -> Iterator[str]:
    if not config.tied and config.task != "ptb":
        yield f"no-tied with the task {config.task}"
    if config.split_seed and config.task == "ptb":
        yield f"split_seed {config.split_seed} with the task ptb, whose files are its splits"


def _idle_with_the_model(config: TrainConfig) -> Iterator[str]:
    if config.model == "sbo":
        return
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in _OF_SBO and value != field.default:
            yield f"{field.name} {value} with the model {config.model}"
    for name in LOWER:
        if name in config.learned:
            yield f"learn_hyper {name} with the model {config.model}"


def _idle_with_the_training(config: TrainConfig) -> Iterator[str]:
    used = {
        "bptt": (),
        "penalty": ("penalty", "penalty_growth", "rounds"),
        "lagrangian": ("penalty", "penalty_growth", "rounds"),
        "bcd": ("penalty", "rounds", "proximity"),
    }[config.training]
    for name in ("penalty", "penalty_growth", "rounds", "proximity"):
        if name not in used and getattr(config, name) is not None:
            yield f"{name} {getattr(config, name):g} with the training {config.training}"
    growth = config.penalty_growth or 1
    if config.training == "lagrangian" and config.rounds == 1 and growth > 1:
        yield f"penalty_growth {growth:g} with a single round"
    if config.training == "penalty" and (config.penalty or 0) >= LARGEST_PENALTY and growth > 1:
        yield f"penalty_growth {growth:g} with a penalty of {LARGEST_PENALTY:g} or more"
    if config.training == "bcd":
        for name in ("upper_rate", "clip"):
            if getattr(config, name) != getattr(TrainConfig, name):
                yield f"{name} {getattr(config, name):g} with the training bcd"
    if config.training != "bptt" and config.remat_chunk is not None:
        yield f"remat_chunk {config.remat_chunk} with the training {config.training}"


def _idle_without_learn_hyper(config: TrainConfig) -> Iterator[str]:
    for name in ("hyper_rate", "hyper_window", "hypergradient"):
        if not config.learned and getattr(config, name) is not None:
            yield f"{name} {getattr(config, name)} without learn_hyper"


def _idle_in_the_lower_level(config: TrainConfig) -> Iterator[str]:
    solver = SOLVERS[config.solver] if config.solver else PRESETS[config.preset].solver
    if config.eta is None and config.eta_kind != "fixed":
        yield f"eta_kind {config.eta_kind} without eta"
    if config.mu is None and config.mu_kind != "fixed":
        yield f"mu_kind {config.mu_kind} without mu"
    if config.mu is not None and solver is sgd:
        yield f"mu {config.mu:g} with the solver sgd"
    if "mu" in config.learned and solver is sgd:
        yield "learn_hyper mu with the solver sgd"
    if config.dropout and config.layers == 1:
        yield f"dropout {config.dropout:g} with a single layer"
    if config.rank is not None and config.operator not in (None, "low_rank"):
        yield f"rank {config.rank} with the operator {config.operator}"


def _idle_with_the_rollout(config: TrainConfig) -> Iterator[str]:
    if config.inner_steps is not None and config.rollout == "fused":
        yield f"inner_steps {config.inner_steps} with the rollout fused"
    if config.remat_chunk is not None and config.rollout != "unrolled":
        yield f"remat_chunk {config.remat_chunk} with the rollout {config.rollout}"
    if config.damping is not None and config.rollout in ("unrolled", "parallel", "fused"):
        yield f"damping {config.damping:g} with the rollout {config.rollout}"
    for name in LOWER:
        if name in config.learned and config.rollout in ("sequence", "step", "streamed"):
            yield f"learn_hyper {name} with the rollout {config.rollout}"
