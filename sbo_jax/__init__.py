"""Recurrent networks as bilevel optimisation (SBO-RNN) in JAX.

A hidden state is the variable of a lower-level problem: reading a sequence is optimising it, one
step of an optax transformation per input. Training the parameters is the upper level.

>>> import jax, jax.numpy as jnp
>>> import sbo_jax as sbo
>>> theta = sbo.LowRank.init(jax.random.key(0), features=8, rank=2)
>>> us = jax.random.normal(jax.random.key(1), (5, 3, 8))  # drives [time, batch, hidden]
>>> problem = sbo.Residual()
>>> eta = 0.5 / problem.smoothness(theta)  # half of the bound 1/L
>>> carry, hs = sbo.unroll(problem, sbo.nesterov(eta, 0.9), jnp.zeros((3, 8)), us, theta)
>>> hs.shape
(5, 3, 8)
>>> from flax import nnx
>>> rnn = sbo.SBORNN(4, 8, lower=sbo.STABLE, rngs=nnx.Rngs(0))  # as a layer
>>> rnn(jnp.ones((3, 5, 4))).shape
(3, 5, 8)
"""

from ._fused import unroll_fused as unroll_fused
from ._implicit import Inputs as Inputs
from ._implicit import attach_gradient as attach_gradient
from ._implicit import solve_adjoint as solve_adjoint
from ._implicit import solve_implicit as solve_implicit
from ._krylov import CG as CG
from ._krylov import BiCGStab as BiCGStab
from ._parallel import ParallelInfo as ParallelInfo
from ._parallel import unroll_parallel as unroll_parallel
from ._types import LowerCarry as LowerCarry
from ._types import LowerInfo as LowerInfo
from ._unroll import init_carry as init_carry
from ._unroll import lower_gradient as lower_gradient
from ._unroll import lower_step as lower_step
from ._unroll import unroll as unroll
from ._version import __version__ as __version__
from .adjoint_policies import UnrolledGradient as UnrolledGradient
from .adjoint_policies import warn as warn
from .cells import LowerHyper as LowerHyper
from .cells import SBOCell as SBOCell
from .equilibria import averaged as averaged
from .equilibria import damped as damped
from .heads import SequenceClassifier as SequenceClassifier
from .heads import SequenceRegressor as SequenceRegressor
from .hyperparameters import Bounded as Bounded
from .hyperparameters import Fixed as Fixed
from .hyperparameters import Learned as Learned
from .hyperparameters import LinSpaced as LinSpaced
from .hyperparameters import LogSpaced as LogSpaced
from .hyperparameters import Normalised as Normalised
from .hyperparameters import PerUnit as PerUnit
from .hyperparameters import Positive as Positive
from .language_model import SequenceLanguageModel as SequenceLanguageModel
from .layers import SBORNN as SBORNN
from .operators import Dense as Dense
from .operators import Diagonal as Diagonal
from .operators import LowRank as LowRank
from .operators import Scalar as Scalar
from .presets import EQUILIBRIUM as EQUILIBRIUM
from .presets import PAPER as PAPER
from .presets import STABLE as STABLE
from .presets import LowerLevel as LowerLevel
from .problems import IncrementalEquilibrium as IncrementalEquilibrium
from .problems import Residual as Residual
from .problems import Transition as Transition
from .rollouts import Fused as Fused
from .rollouts import Parallel as Parallel
from .rollouts import Reading as Reading
from .rollouts import SequenceEquilibrium as SequenceEquilibrium
from .rollouts import StepEquilibrium as StepEquilibrium
from .rollouts import Streamed as Streamed
from .rollouts import Unrolled as Unrolled
from .solvers import heavy_ball as heavy_ball
from .solvers import nesterov as nesterov
from .solvers import sgd as sgd
from .training import load as load
