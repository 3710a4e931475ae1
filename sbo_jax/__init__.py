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

import typing as _typing

from ._types import LowerCarry as LowerCarry
from ._types import LowerProblem as LowerProblem
from ._types import Operator as Operator
from ._types import ResidualProblem as ResidualProblem
from ._version import __version__ as __version__
from .lower import EQUILIBRIUM as EQUILIBRIUM
from .lower import PAPER as PAPER
from .lower import STABLE as STABLE
from .lower import Bounded as Bounded
from .lower import Dense as Dense
from .lower import Diagonal as Diagonal
from .lower import Fixed as Fixed
from .lower import Learned as Learned
from .lower import LinSpaced as LinSpaced
from .lower import LogSpaced as LogSpaced
from .lower import LowerHyperparameter as LowerHyperparameter
from .lower import LowerLevel as LowerLevel
from .lower import LowRank as LowRank
from .lower import Normalised as Normalised
from .lower import PerUnit as PerUnit
from .lower import Positive as Positive
from .lower import Residual as Residual
from .lower import Scalar as Scalar
from .lower import Transition as Transition
from .lower import heavy_ball as heavy_ball
from .lower import lower_step as lower_step
from .lower import nesterov as nesterov
from .lower import sgd as sgd
from .nn import SBORNN as SBORNN
from .nn import SBOCell as SBOCell
from .nn import SequenceClassifier as SequenceClassifier
from .nn import SequenceLanguageModel as SequenceLanguageModel
from .nn import SequenceRegressor as SequenceRegressor
from .rollouts import Fused as Fused
from .rollouts import Parallel as Parallel
from .rollouts import Rollout as Rollout
from .rollouts import SequenceEquilibrium as SequenceEquilibrium
from .rollouts import StepEquilibrium as StepEquilibrium
from .rollouts import Streamed as Streamed
from .rollouts import Unrolled as Unrolled
from .rollouts import solve_implicit as solve_implicit
from .rollouts import unroll as unroll

if _typing.TYPE_CHECKING:
    from .trained import load as load


def __getattr__(name: str) -> _typing.Any:
    """`load` when it is asked for: it imports orbax, which takes longer than all else here."""
    if name == "load":
        from .trained import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "load"])
