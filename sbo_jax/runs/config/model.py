"""The parts of a configuration that describe a model."""

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from ..._types import LowerProblem, Operator
from ...lower.level import LowerLevel
from .conditions import (
    BY_BPTT,
    IMPLICIT,
    MOMENTUM,
    OF_EACH_STEP,
    RANK,
    SBO,
    SEVERAL_LAYERS,
    STACKED,
    TOKENS,
)
from .needs import COUNT, ETA, FRACTION, LAYERS, MU, NOT_NEGATIVE, Given, Needs
from .registry import (
    ACTIVATIONS,
    ENERGIES,
    ETA_KINDS,
    MU_KINDS,
    OPERATORS,
    PRESETS,
    SOLVERS,
    ActivationName,
    Energy,
    EtaKind,
    ModelName,
    MuKind,
    OperatorName,
    Preset,
    Solver,
)

HIDDEN = 128


@dataclass(frozen=True)
class Layer:
    """The recurrent layer that reads the sequence."""

    model: ModelName = "sbo"
    """sbo; recall, whose states are memories (docs/memories.md); or another recurrent layer as its
    paper states it, which takes only --hidden and dropout before and after it"""
    hidden: Annotated[int | None, COUNT] = None
    """hidden units; None: 128, and 64 for --task folder"""
    layers: Annotated[int, LAYERS, STACKED] = 1
    """stacked layers"""
    dropout: Annotated[float, FRACTION, SBO, SEVERAL_LAYERS] = 0.0
    """probability of dropping a number between layers, in [0, 1)"""
    input_dropout: Annotated[float, FRACTION, BY_BPTT] = 0.0
    """probability of dropping a number that the model reads, in [0, 1), in training alone"""
    readout_dropout: Annotated[float, FRACTION, BY_BPTT] = 0.0
    """the same for a number of a state from which it predicts"""
    variational_dropout: Annotated[float, FRACTION, BY_BPTT] = 0.0
    """the same for a feature that the model reads, dropped at all steps of a sequence or at none
    (Gal and Ghahramani 2016)"""
    dtype: Annotated[Literal["float32", "bfloat16"], STACKED] = "float32"
    """of the matrix products in the recurrent layers; states stay in float32"""
    tied: Annotated[bool, TOKENS] = True
    """ptb: one matrix for the words that are read and those that are predicted"""

    @property
    def width(self) -> int:
        """Hidden units, where no task suggests another number."""
        return HIDDEN if self.hidden is None else self.hidden


@dataclass(frozen=True)
class SweptLayer(Layer):
    """The same in a sweep, which may try several widths."""

    hidden: Annotated[tuple[int, ...], COUNT] = (32,)  # type: ignore[assignment]
    """hidden units; several are rows of the report"""

    def of_width(self, hidden: int) -> Layer:
        return Layer(**(vars(self) | {"hidden": hidden}))


@dataclass(frozen=True)
class Lower:
    """The lower level, for --model sbo alone: problem, optimiser, and what is differentiated."""

    preset: Preset = "stable"
    """stable: heavy ball, eta = s/L and mu learned per unit, dense; oscillating: the same with more
    momentum, which learns images pixel by pixel faster; paper: SGD, eta = 1e-3 fixed,
    low_rank; equilibrium: Nesterov with one eta = 0.9/L and mu = 0.8, low_rank, for the implicit
    rollouts"""
    solver: Solver | None = None
    """lower-level optimiser, instead of the preset's"""
    operator: OperatorName | None = None
    """recurrent map, instead of the preset's"""
    energy: Annotated[Energy, OF_EACH_STEP] = "residual"
    """residual: the paper's; transition: sgd with eta 1 is the vanilla RNN phi(h W + x V + b)"""
    activation: ActivationName | None = None
    """phi of the energy; None: relu, and tanh for transition"""
    rank: Annotated[int | None, RANK] = None
    """rank of low_rank, at most hidden; None: the smaller of 50 and hidden"""
    rollout: Literal[
        "unrolled",
        "parallel",
        "fused",
        "experimental_fused_hopper",
        "experimental_fused_tpu",
        "sequence",
        "step",
        "streamed",
    ] = "unrolled"
    """differentiate through all steps, one by one, parallel over time (diagonal, scalar) or fused
    into a kernel, for a GPU, or, never run on one yet, for the tensor cores of an H100 or for a
    TPU; or implicitly, at the equilibrium of the whole sequence or of each step, or at the end of
    the streamed passes"""
    inner_steps: Annotated[
        int | None, COUNT, Needs(rollout=("unrolled", "parallel", *IMPLICIT))
    ] = None
    """lower-level steps: per input (unrolled, parallel: 1, step: 30), in all (sequence: 30), or
    passes (streamed: 1)"""
    damping: Annotated[float | None, NOT_NEGATIVE, Needs(rollout=IMPLICIT)] = None
    """weight >= 0 of damping in implicit rollouts; None: 0.1"""
    remat_chunk: Annotated[int | None, COUNT, Needs(rollout=("unrolled",)), BY_BPTT] = None
    """unrolled: recompute in chunks of this many steps in the backward pass, to save memory"""

    @property
    def drawn(self) -> Callable[..., Operator]:
        """What draws the recurrent map, its rank still open."""
        return OPERATORS[self.operator] if self.operator else PRESETS[self.preset].operator

    @property
    def takes_rank(self) -> bool:
        return "rank" in inspect.signature(self.drawn).parameters

    def level(self) -> LowerLevel:
        """The preset, with the parts chosen here in place of its own."""
        preset = PRESETS[self.preset]
        return dataclasses.replace(
            preset,
            solver=SOLVERS[self.solver] if self.solver else preset.solver,
            operator=self.drawn if self.rank is None else partial(self.drawn, rank=self.rank),
            problem=self._problem(preset.problem),
        )

    def _problem(self, of_preset: LowerProblem) -> LowerProblem:
        energy = ENERGIES[self.energy]
        if self.activation:
            return energy(ACTIVATIONS[self.activation])
        return of_preset if self.energy == "residual" else energy()


@dataclass(frozen=True)
class Hyper:
    """Step size and momentum of the lower level, for --model sbo alone."""

    eta: Annotated[float | None, ETA] = None
    """lower-level step size > 0, instead of the preset's; see eta-kind"""
    eta_kind: Annotated[EtaKind, Given("eta")] = "fixed"
    """what --eta is: fixed, a constant; learned, a start; normalised, a start in units of the
    bound 1/L (0 < eta < 1); fixed_normalised, a constant in these units"""
    mu: Annotated[float | None, MU, MOMENTUM] = None
    """momentum in [0, 1), instead of the preset's; see mu-kind"""
    mu_kind: Annotated[MuKind, Given("mu")] = "fixed"
    """what --mu is: a constant, or a start kept inside (0, 1)"""

    def inside(self, level: LowerLevel) -> LowerLevel:
        """The lower level with eta and mu as chosen here, else its own."""
        eta = level.eta if self.eta is None else ETA_KINDS[self.eta_kind](self.eta)
        mu = level.mu if self.mu is None else MU_KINDS[self.mu_kind](self.mu)
        return dataclasses.replace(level, eta=eta, mu=mu)
