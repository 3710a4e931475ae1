"""The lower level: one time step as one step of an optax optimiser on an energy; no Flax.

A solver (`solvers`) with hyper-parameters eta and mu (`hyperparameters`) descends an energy
(`energies`) of the hidden state, whose parameter is an operator (`operators`). `LowerLevel` bundles
the four; `lower_step` takes the step.
"""

from .composed import Ravelled as Ravelled
from .composed import averaged as averaged
from .composed import damped as damped
from .composed import proximal as proximal
from .composed import ravelled as ravelled
from .energies import IncrementalEquilibrium as IncrementalEquilibrium
from .energies import Residual as Residual
from .energies import Transition as Transition
from .hyperparameters import Bounded as Bounded
from .hyperparameters import Fixed as Fixed
from .hyperparameters import Learned as Learned
from .hyperparameters import LinSpaced as LinSpaced
from .hyperparameters import LogSpaced as LogSpaced
from .hyperparameters import LowerHyperparameter as LowerHyperparameter
from .hyperparameters import Normalised as Normalised
from .hyperparameters import PerUnit as PerUnit
from .hyperparameters import Positive as Positive
from .level import EQUILIBRIUM as EQUILIBRIUM
from .level import OSCILLATING as OSCILLATING
from .level import PAPER as PAPER
from .level import STABLE as STABLE
from .level import LowerLevel as LowerLevel
from .operators import Dense as Dense
from .operators import Diagonal as Diagonal
from .operators import LowRank as LowRank
from .operators import Scalar as Scalar
from .recall import Association as Association
from .recall import Recall as Recall
from .solvers import heavy_ball as heavy_ball
from .solvers import nesterov as nesterov
from .solvers import sgd as sgd
from .step import init_carry as init_carry
from .step import lower_gradient as lower_gradient
from .step import lower_step as lower_step
