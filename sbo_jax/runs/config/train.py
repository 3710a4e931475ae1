"""One typed description of a run, each room's part of its own, and what it may not say.

Every option states at its field where it has an effect; `build` makes a model of what is left.
"""

import importlib.util
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from ...tasks.registry import TaskName, check_request
from .conditions import BY_BPTT, BY_TRAINING_LOSS, DRAWN_SPLIT, SBO, SEPARATE_SAMPLES
from .model import Hyper, Layer, Lower
from .needs import COUNT, SEED, Given, Must, check_options
from .options import PLACE, Options
from .registry import ELEMENTWISE, OPERATORS
from .training import Augmentation, Choice, Training, Upper


def profiled_steps(text: str) -> tuple[int, int]:
    """The first and the last step of "10:15"; ValueError for what is none of the kind."""
    match = re.fullmatch(r"([0-9]{1,10}):([0-9]{1,10})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"expected FIRST:LAST, got {text}")
    return int(match[1]), int(match[2])


def _are_steps(text: str) -> bool:
    try:
        return bool(profiled_steps(text))
    except ValueError:
        return False


STEPS = Must("{} as FIRST:LAST, 1 <= FIRST <= LAST", _are_steps, "try 10:15")


@dataclass(frozen=True)
class Data:
    """The data to learn from."""

    task: TaskName = "digits"
    """data set"""
    folder: Annotated[str | None, PLACE] = None
    """for --task folder: your dataset.toml, the folder that holds it, or a .ts or .arff file of an
    archive (docs/own_data.md)"""
    train_fraction: float | None = None
    """fraction of the training samples to keep, 0 < f <= 1, the same from every class"""
    length: Annotated[int | None, COUNT] = None
    """time steps of adding (None: 100) and recall (None: 256), or of ptb before gradients are cut
    (None: 300)"""
    split_seed: Annotated[int, SEED, DRAWN_SPLIT] = 0
    """seed of the split into training and validation samples, where no file decides it"""
    raw_dir: Annotated[Path | None, PLACE] = None
    """folder with the original files in mnist/, cifar10/, uci_har/, ptb/, read if there are no
    prepared data; None: download them"""
    data_dir: Annotated[Path | None, PLACE] = None
    """where prepared data sets are kept; None: where TFDS keeps them"""


@dataclass(frozen=True)
class Run:
    """The run itself: its seed, its devices, its folder."""

    seed: Annotated[int, SEED] = 0
    """seed of the parameters and of the order of the batches"""
    mesh: Annotated[str | None, PLACE] = None
    """devices to split each batch over, as in data=4; None: all, of a CPU at most one for
    16 samples"""
    out: Annotated[Path | None, PLACE] = None
    """run folder, which must not hold a run yet; None: runs/TASK-TIME-SUFFIX"""
    check_only: Annotated[bool, PLACE] = False
    """stop before training: say what was understood of the data, or what is wrong"""
    resume: Annotated[bool, PLACE, Given("out", "RUN")] = False
    """go on with the run in --out, or start it where there is none"""
    tensorboard: Annotated[bool, PLACE] = False
    """write event files into the run folder as well"""
    profile: Annotated[str | None, PLACE, STEPS] = None
    """record what device and host do in these training steps, as in 10:15, into the run folder"""
    compilation_cache: Annotated[Path | None, PLACE] = None
    """folder that keeps compiled programs for the next start; None: that of the environment
    variable JAX_COMPILATION_CACHE_DIR, if any"""


@dataclass(frozen=True)
class TrainConfig(Options):
    """Train an SBO-RNN. Without arguments: the digits task with the STABLE preset."""

    data: Data = field(default_factory=Data)
    layer: Layer = field(default_factory=Layer)
    lower: Annotated[Lower, SBO] = field(default_factory=Lower)
    hyper: Annotated[Hyper, SBO] = field(default_factory=Hyper)
    method: Training = field(default_factory=Training)
    upper: Upper = field(default_factory=Upper)
    augmentation: Annotated[Augmentation, BY_BPTT, BY_TRAINING_LOSS, SEPARATE_SAMPLES] = field(
        default_factory=Augmentation
    )
    choice: Choice = field(default_factory=Choice)
    run: Run = field(default_factory=Run)


def check(config: TrainConfig) -> None:
    """ValueError for what no later step would refuse with a better sentence."""
    check_options(config)
    if config.layer.model == "sbo":
        _check_operator(config.lower, config.layer.width)
    if config.run.tensorboard:
        _check_tensorboard()
    data = config.data
    check_request(data.task, data.split_seed, data.length, data.train_fraction, data.folder)


def _check_operator(lower: Lower, hidden: int) -> None:
    if lower.rank is not None and lower.rank > hidden:
        raise ValueError(
            f"expected a rank of at most the {hidden} hidden units, got rank {lower.rank}; try a "
            f"smaller --rank, or --operator dense"
        )
    if lower.rollout == "parallel" and lower.drawn not in map(OPERATORS.get, ELEMENTWISE):
        operator = f"--operator {lower.operator}" if lower.operator else "that of the preset"
        raise ValueError(
            f"expected an operator whose units do not interact for --rollout parallel, got "
            f"{operator}; try --operator {' or '.join(ELEMENTWISE)}, or --rollout unrolled"
        )


def _check_tensorboard() -> None:
    if importlib.util.find_spec("tensorboardX") is None:
        raise ValueError(
            "expected tensorboardX for --tensorboard, which is not installed; try "
            "pip install -e '.[tensorboard]'"
        )
