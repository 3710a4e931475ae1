"""One typed description of a run: the script parses it, the run folder keeps it.

`needs` refuses what makes no sense in it, `build` makes of it a model.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..tasks._types import Recipe, Task
from ..tasks.registry import TaskName

Peer = Literal[
    "rnn",
    "lstm",
    "gru",
    "fast_rnn",
    "fast_grnn",
    "antisymmetric",
    "gated_antisymmetric",
    "irnn",
    "sharnn",
    "indrnn",
    "lipschitz",
    "momentum",
    "momentum_lstm",
    "cornn",
    "unicornn",
    "lem",
]


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
    """time steps of adding, or of ptb before gradients are cut; None: 100 and 300"""
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
    """rank of low_rank, at most hidden; None: the smaller of 50 and hidden"""
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
    """of implicit rollouts, >= 0; None: 0.1"""
    remat_chunk: int | None = None
    """unrolled: recompute in chunks of this many steps in the backward pass, to save memory"""
    training: Literal["bptt", "penalty", "lagrangian", "bcd"] = "bptt"
    """through all time steps, or with the hidden states as free variables: held near the
    recursion by a penalty, also by multipliers, or block by block in closed form (vanilla
    ReLU, short sequences)"""
    learn_hyper: str | None = None
    """what else to learn, on the validation loss: eta,mu,weight_decay,jitter,scale,shift,affine or
    some of them (jitter to affine: how much to change training samples); that loss also picks the
    epoch, and only the test split is unseen"""
    hyper_rate: float | None = None
    """Adam's step size for those, on logarithms and the like; None: 0.1"""
    hyper_window: int | None = None
    """cut each batch into so many upper-level steps, and look at the validation loss after them;
    None: 1"""
    hypergradient: Literal["unrolled", "implicit"] | None = None
    """through those steps, or by the implicit function theorem (Neumann's series) as if training
    had converged; None: unrolled"""
    penalty: float | None = None
    """lambda of relaxed training, > 0; None: 10, bcd: 1"""
    penalty_growth: float | None = None
    """factor >= 1 on lambda: after every epoch up to a lambda of 1000 (penalty: 1.1), or after a
    round in which the residual fell by less than four (lagrangian: 2)"""
    rounds: int | None = None
    """penalty: Newton steps of the states per batch (1); lagrangian: those, each with one of the
    multipliers (3); bcd: sweeps (1)"""
    proximity: float | None = None
    """bcd: weight > 0 that holds every block near its last value (weights: in units of their
    regression's curvature); None: 1"""
    epochs: int | None = None
    """passes over the training samples there are; None: the task's"""
    batch_size: int | None = None
    """samples per upper-level step; None: the task's"""
    upper_rate: float | None = None
    """Adam's step size at the start of its cosine schedule; None: the task's"""
    clip: float = 1.0
    """largest global norm of the upper-level gradient"""
    seed: int = 0
    """of the parameters and of the order of the batches"""
    split_seed: int = 0
    """of the split into training and validation samples, where no file decides it"""
    mesh: str | None = None
    """devices to split each batch over, as in data=4; None: all"""
    raw_dir: Path | None = None
    """folder with original files in mnist/, cifar10/, uci_har/, ptb/, read once, where no prepared
    data are found; None: they are downloaded"""
    data_dir: Path | None = None
    """where prepared data sets are kept; None: TFDS's"""
    out: Path | None = None
    """run folder, which must not hold a run yet; None: runs/TASK-TIME"""
    resume: bool = False
    """go on with the run in --out, or start it where there is none"""
    tensorboard: bool = False
    """write event files into the run folder as well"""

    @property
    def learned(self) -> tuple[str, ...]:
        """The names in `learn_hyper`."""
        if self.learn_hyper is None:
            return ()
        return tuple(name.strip() for name in self.learn_hyper.split(","))

    def recipe(self, task: Task) -> Recipe:
        """The task's recipe, with what was chosen here in its place."""
        chosen = {field.name: getattr(self, field.name) for field in dataclasses.fields(Recipe)}
        changes = {name: value for name, value in chosen.items() if value is not None}
        return dataclasses.replace(task.recipe, **changes)
