"""The upper level: losses, steps, the training loop and its run folder."""

from .allocator import keep_freed_memory as keep_freed_memory
from .building import build_model as build_model
from .checks import check as check
from .config import TrainConfig as TrainConfig
from .fit import Diverged as Diverged
from .fit import Epoch as Epoch
from .fit import default_optimizer as default_optimizer
from .fit import fit as fit
from .flow import cell_gradient_flow as cell_gradient_flow
from .flow import cell_step as cell_step
from .objectives import ACCURACY as ACCURACY
from .objectives import MSE as MSE
from .objectives import PERPLEXITY as PERPLEXITY
from .objectives import Objective as Objective
from .run import prepare as prepare
from .run import train as train
from .run_folder import RunFolder as RunFolder
from .run_folder import load as load
from .step import TrainState as TrainState
from .step import eval_step as eval_step
from .step import init_state as init_state
from .step import train_step as train_step
