"""The mathematics of the upper level: objectives, steps, and the loop that takes them."""

from .fit import Diverged as Diverged
from .fit import Epoch as Epoch
from .fit import default_optimizer as default_optimizer
from .fit import fit as fit
from .objectives import ACCURACY as ACCURACY
from .objectives import MSE as MSE
from .objectives import PERPLEXITY as PERPLEXITY
from .objectives import Objective as Objective
from .step import TrainState as TrainState
from .step import eval_step as eval_step
from .step import init_state as init_state
from .step import train_step as train_step
