"""One typed description of a run: the script parses it, the run folder keeps it, `build` obeys it.

Strings name functions here and nowhere else in the library.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx

from ..heads import SequenceClassifier, SequenceRegressor
from ..hyperparameters import (
    Bounded,
    Fixed,
    Learned,
    LowerHyperparameter,
    Normalised,
    Positive,
)
from ..language_model import SequenceLanguageModel
from ..layers import SBORNN
from ..operators import Dense, Diagonal, LowRank, Scalar
from ..presets import EQUILIBRIUM, PAPER, STABLE, LowerLevel
from ..problems import Residual, Transition
from ..rollouts import (
    Fused,
    Parallel,
    Rollout,
    SequenceEquilibrium,
    StepEquilibrium,
    Streamed,
    Unrolled,
)
from ..solvers import heavy_ball, nesterov, sgd
from ..tasks import Recipe, Task, TaskName
from .learned import LOWER
from .learned import NAMES as HYPER_NAMES
from .models import Peer, build_peer
from .tensorboard import check_installed

PRESETS = {"stable": STABLE, "paper": PAPER, "equilibrium": EQUILIBRIUM}
ACTIVATIONS = {
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "identity": jax.nn.identity,
    "tanh": jnp.tanh,
    "softplus": jax.nn.softplus,
}
ENERGIES: dict[str, Callable[..., Any]] = {"residual": Residual, "transition": Transition}
SOLVERS = {"sgd": sgd, "heavy_ball": heavy_ball, "nesterov": nesterov}
OPERATORS: dict[str, Callable[..., Any]] = {
    "low_rank": LowRank.init,
    "dense": Dense.init,
    "diagonal": Diagonal.init,
    "scalar": Scalar.init,
}
ETA_KINDS: dict[str, Callable[[float], LowerHyperparameter]] = {
    "fixed": Fixed,
    "learned": Positive,
    "normalised": Normalised,
}
MU_KINDS: dict[str, Callable[[float], LowerHyperparameter]] = {"fixed": Fixed, "learned": Bounded}
Model: TypeAlias = SequenceClassifier | SequenceRegressor | SequenceLanguageModel
HEADS: dict[str, type[SequenceClassifier] | type[SequenceRegressor]] = {
    "accuracy": SequenceClassifier,
    "mse": SequenceRegressor,
}


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


@dataclass(frozen=True)
class TrainConfig:
    """Train an SBO-RNN. Without arguments: the digits task with the STABLE preset."""

    task: TaskName = "digits"
    """data set"""
    folder: str | None = None
    """of the task folder: your dataset.toml, or the folder that holds it (docs/own_data.md)"""
    train_fraction: float | None = None
    """part of the training samples to keep, 0 < f <= 1, of every class its share"""
    length: int | None = None
    """time steps of adding (default: 100), or of ptb before gradients are cut (300); of no other
    task"""
    model: Literal["sbo"] | Peer = "sbo"
    """sbo, or another recurrent layer as its paper states it; of the options below up to
    remat-chunk, others take hidden alone"""
    preset: Literal["stable", "paper", "equilibrium"] = "stable"
    """stable: Nesterov, eta = s/L and mu learned per unit; paper: SGD, eta = 1e-3 fixed;
    equilibrium: Nesterov with one eta = 0.9/L and mu = 0.8, for the implicit rollouts"""
    solver: Literal["sgd", "heavy_ball", "nesterov"] | None = None
    """lower-level optimiser, instead of the preset's"""
    operator: Literal["low_rank", "dense", "diagonal", "scalar"] | None = None
    """recurrent map, instead of the preset's low_rank"""
    activation: Literal["relu", "leaky_relu", "identity", "tanh", "softplus"] | None = None
    """phi of the energy, instead of the preset's"""
    energy: Literal["residual", "transition"] = "residual"
    """the paper's, or that of which sgd with eta 1 is the vanilla RNN phi(h W + x V + b)"""
    rank: int | None = None
    """rank of low_rank, at most hidden (default: the smaller of 50 and hidden)"""
    eta: float | None = None
    """lower-level step size > 0, instead of the preset's; see eta-kind"""
    eta_kind: Literal["fixed", "learned", "normalised"] = "fixed"
    """what --eta is: a constant, a start, or a start in units of the bound 1/L (0 < eta < 1)"""
    mu: float | None = None
    """momentum in [0, 1), instead of the preset's; see mu-kind"""
    mu_kind: Literal["fixed", "learned"] = "fixed"
    """what --mu is: a constant, or a start kept inside (0, 1)"""
    hidden: int = 128
    """hidden units"""
    layers: int = 1
    """stacked layers"""
    dropout: float = 0.0
    """between layers, in [0, 1)"""
    tied: bool = True
    """ptb: one matrix for the words that are read and those that are predicted"""
    rollout: Literal["unrolled", "parallel", "fused", "sequence", "step", "streamed"] = "unrolled"
    """differentiate through all steps, one by one, parallel over time (diagonal, scalar) or fused
    into a GPU kernel; or implicitly at the equilibrium of the whole sequence, of each step, or at
    the end of the streamed pass"""
    inner_steps: int | None = None
    """lower-level steps: per input (unrolled, parallel: 1, step: 30), in all (sequence: 30), or
    passes (streamed: 1)"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """what matrix products of the recurrent layers are computed in; states stay in float32"""
    damping: float | None = None
    """of implicit rollouts, >= 0 (default: 0.1)"""
    remat_chunk: int | None = None
    """unrolled: recompute in chunks of this many steps in the backward pass, to save memory"""
    training: Literal["bptt", "penalty", "lagrangian", "bcd"] = "bptt"
    """through all time steps, or with the hidden states as free variables: held near the
    recursion by a penalty, also by multipliers, or block by block in closed form (vanilla ReLU)"""
    learn_hyper: str | None = None
    """what else to learn, on the validation loss: eta,mu,weight_decay,jitter,scale,shift,affine or
    some of them (jitter to affine: how much to change training samples)"""
    hyper_rate: float | None = None
    """Adam's step size for those, on logarithms and the like (default: 0.03)"""
    hyper_window: int | None = None
    """cut each batch into so many upper-level steps, and look at the validation loss after them
    (default: 1)"""
    hypergradient: Literal["unrolled", "implicit"] | None = None
    """through those steps, or by the implicit function theorem (Neumann's series) as if training
    had converged (default: unrolled)"""
    penalty: float | None = None
    """lambda of relaxed training, > 0 (default: 10, bcd: 1)"""
    penalty_growth: float | None = None
    """factor >= 1 on lambda: after every epoch up to a lambda of 1000 (penalty: 1.1), or after a
    round in which the residual fell by less than four (lagrangian: 2)"""
    rounds: int | None = None
    """penalty: Newton steps of the states per batch (1); lagrangian: those, each with one of the
    multipliers (3); bcd: sweeps (1)"""
    proximity: float | None = None
    """bcd: weight > 0 that holds every block near its last value (default: 1; for the weights in
    units of their regression's curvature)"""
    epochs: int | None = None
    """passes over the training samples there are (default: the task's)"""
    batch_size: int | None = None
    """samples per upper-level step (default: the task's)"""
    upper_rate: float | None = None
    """Adam's step size at the start of its cosine schedule (default: the task's)"""
    clip: float = 1.0
    """largest global norm of the upper-level gradient"""
    seed: int = 0
    """of the parameters and of the order of the batches"""
    split_seed: int = 0
    """of the split into training and validation samples"""
    mesh: str | None = None
    """devices to split each batch over, as in data=4 (default: all)"""
    raw_dir: Path | None = None
    """folder with original files in mnist/, cifar10/, uci_har/, ptb/; by default downloaded"""
    data_dir: Path | None = None
    """where prepared data sets are kept (default: TFDS's)"""
    out: Path | None = None
    """run folder, which must not hold a run yet (default: runs/TASK-TIME)"""
    resume: bool = False
    """go on with the run in --out, or start it where there is none"""
    tensorboard: bool = False
    """write event files into the run folder as well"""

    def check(self) -> None:
        """ValueError for what no later step would refuse with a better sentence."""
        counts = ("hidden", "layers", "inner_steps", "epochs", "batch_size", "length")
        for name in (*counts, "remat_chunk", "rounds", "hyper_window"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"expected {name} >= 1, got {value}; leave it out for the default")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"expected 0 <= seed < 2**31, got {self.seed}; try 0")
        if self.resume and self.out is None:
            raise ValueError("expected --out RUN together with --resume, got no folder")
        if self.tensorboard:
            check_installed()
        least_of = (("penalty", 0), ("proximity", 0), ("penalty_growth", 1), ("hyper_rate", 0))
        for name, least in least_of:
            value = getattr(self, name)
            if value is not None and not (least <= value < math.inf and value > 0):
                raise ValueError(f"expected {name} {'>=' if least else '>'} {least}, got {value:g}")
        self._check_learned()
        for idle in self._idle_options():
            raise ValueError(f"expected options that have an effect, got {idle}; leave it out")

    @property
    def learned(self) -> tuple[str, ...]:
        """The names in `learn_hyper`."""
        return tuple(self.learn_hyper.split(",")) if self.learn_hyper is not None else ()

    def _check_learned(self) -> None:
        known = set(HYPER_NAMES)
        if len(set(self.learned)) < len(self.learned) or not known.issuperset(self.learned):
            raise ValueError(
                f"expected learn_hyper as in eta,mu, of {', '.join(HYPER_NAMES)}, each once, got "
                f"{self.learn_hyper!r}"
            )
        if self.learned and self.training != "bptt":
            raise ValueError(f"expected the training bptt with learn_hyper, got {self.training}")
        if self.hypergradient == "implicit" and (self.hyper_window or 1) > 1:
            raise ValueError(
                f"expected no window with implicit hypergradients, got {self.hyper_window}"
            )
        if self.learned and self.task == "ptb":
            raise ValueError("expected samples that stand for themselves with learn_hyper, got ptb")
        if "affine" in self.learned and self.task not in ("digits", "pixel_mnist"):
            raise ValueError(
                f"expected images, digits or pixel_mnist, to learn affine, got {self.task}"
            )

    def _idle_options(self) -> Iterator[str]:
        """Options that were given and would change nothing."""
        if not self.learned:
            for name in ("hyper_rate", "hyper_window", "hypergradient"):
                if getattr(self, name) is not None:
                    yield f"{name} {getattr(self, name)} without learn_hyper"
        for name in LOWER:
            if name in self.learned and self.model != "sbo":
                yield f"learn_hyper {name} with the model {self.model}"
            if name in self.learned and self.rollout in ("sequence", "step", "streamed"):
                yield f"learn_hyper {name} with the rollout {self.rollout}"
        if self.model != "sbo":
            for field in dataclasses.fields(self):
                value = getattr(self, field.name)
                if field.name in _OF_SBO and value != field.default:
                    yield f"{field.name} {value} with the model {self.model}"
        if not self.tied and self.task != "ptb":
            yield f"no-tied with the task {self.task}"
        solver = SOLVERS[self.solver] if self.solver else PRESETS[self.preset].solver
        used = {
            "bptt": (),
            "penalty": ("penalty", "penalty_growth", "rounds"),
            "lagrangian": ("penalty", "penalty_growth", "rounds"),
            "bcd": ("penalty", "rounds", "proximity"),
        }[self.training]
        for name in ("penalty", "penalty_growth", "rounds", "proximity"):
            if name not in used and getattr(self, name) is not None:
                yield f"{name} {getattr(self, name):g} with the training {self.training}"
        if self.training == "bcd":
            for name in ("upper_rate", "clip"):
                if getattr(self, name) != getattr(TrainConfig, name):
                    yield f"{name} {getattr(self, name):g} with the training bcd"
        if self.training != "bptt" and self.remat_chunk is not None:
            yield f"remat_chunk {self.remat_chunk} with the training {self.training}"
        if self.eta is None and self.eta_kind != "fixed":
            yield f"eta_kind {self.eta_kind} without eta"
        if self.mu is None and self.mu_kind != "fixed":
            yield f"mu_kind {self.mu_kind} without mu"
        if self.mu is not None and solver is sgd:
            yield f"mu {self.mu:g} with the solver sgd"
        if "mu" in self.learned and solver is sgd:
            yield "learn_hyper mu with the solver sgd"
        if self.dropout and self.layers == 1:
            yield f"dropout {self.dropout:g} with a single layer"
        if self.rank is not None and self.operator not in (None, "low_rank"):
            yield f"rank {self.rank} with the operator {self.operator}"
        if self.inner_steps is not None and self.rollout == "fused":
            yield f"inner_steps {self.inner_steps} with the rollout fused"
        if self.remat_chunk is not None and self.rollout != "unrolled":
            yield f"remat_chunk {self.remat_chunk} with the rollout {self.rollout}"
        if self.damping is not None and self.rollout in ("unrolled", "parallel", "fused"):
            yield f"damping {self.damping:g} with the rollout {self.rollout}"

    def recipe(self, task: Task) -> Recipe:
        """The task's recipe, with what was chosen here in its place."""
        chosen = {field.name: getattr(self, field.name) for field in dataclasses.fields(Recipe)}
        changes = {name: value for name, value in chosen.items() if value is not None}
        return dataclasses.replace(task.recipe, **changes)


def lower_level(config: TrainConfig) -> LowerLevel:
    """The preset, with what the configuration changes in it."""
    preset = PRESETS[config.preset]
    changes: dict[str, Any] = {}
    if config.solver is not None:
        changes["solver"] = SOLVERS[config.solver]
    if config.operator is not None:
        changes["operator"] = OPERATORS[config.operator]
    if config.rank is not None:
        changes["operator"] = partial(LowRank.init, rank=config.rank)
    if config.activation is not None or config.energy != "residual":
        phi = ACTIVATIONS[config.activation or "relu"]
        changes["problem"] = ENERGIES[config.energy](phi)
    if config.eta is not None:
        changes["eta"] = ETA_KINDS[config.eta_kind](config.eta)
    if config.mu is not None:
        changes["mu"] = MU_KINDS[config.mu_kind](config.mu)
    return _with_learnable(dataclasses.replace(preset, **changes), config.learned)


def _with_learnable(lower: LowerLevel, names: Sequence[str]) -> LowerLevel:
    """With those of eta and mu in coordinates without bounds that are numbers as they are."""
    free: dict[str, Callable[[Any], LowerHyperparameter]] = {"eta": Positive, "mu": Bounded}
    plain = [n for n in free if n in names and isinstance(getattr(lower, n), Fixed | Learned)]
    return dataclasses.replace(lower, **{n: free[n](getattr(lower, n).value) for n in plain})


def rollout(config: TrainConfig) -> Rollout:
    """How the sequence is read, and what is differentiated."""
    count = config.inner_steps
    damping = 0.1 if config.damping is None else config.damping
    match config.rollout:
        case "unrolled":
            return Unrolled(inner_steps=count or 1, remat_chunk=config.remat_chunk)
        case "parallel":
            return Parallel(inner_steps=count or 1)
        case "fused":
            return Fused()
        case "sequence":
            return SequenceEquilibrium(num_steps=count or 30, damping=damping)
        case "step":
            return StepEquilibrium(num_steps=count or 30, damping=damping)
        case "streamed":
            return Streamed(passes=count or 1, damping=damping)


def build_model(
    config: TrainConfig, *, in_features: int, out_features: int, metric: str, length: int = 1
) -> Model:
    """The model of a run on sequences of `length` steps, drawn from the configuration's seed."""
    rngs = nnx.Rngs(config.seed)
    words = metric == "perplexity"
    width = config.hidden if words else in_features
    if config.model == "sbo":
        rnn: nnx.Module = _sbo(config, width, rngs)
    else:
        rnn = build_peer(config.model, width, config.hidden, length=length, rngs=rngs)
    if words:
        return SequenceLanguageModel(rnn, config.hidden, out_features, tied=config.tied, rngs=rngs)
    return HEADS[metric](rnn, config.hidden, out_features, rngs=rngs)


def _sbo(config: TrainConfig, in_features: int, rngs: nnx.Rngs) -> SBORNN:
    return SBORNN(
        in_features,
        config.hidden,
        num_layers=config.layers,
        dropout=config.dropout,
        lower=lower_level(config),
        rollout=rollout(config),
        dtype=None if config.dtype == "float32" else config.dtype,
        rngs=rngs,
    )
