"""The mathematics of the upper level: objectives, steps, and the loop that takes them."""

from .augment import with_augmented_samples as with_augmented_samples
from .averaging import averaged as averaged
from .fit import Epoch as Epoch
from .fit import fit as fit
from .fit_many import fit_many as fit_many
from .losses import Diverged as Diverged
from .method import Method as Method
from .method import TrainState as TrainState
from .method import UpperInfo as UpperInfo
from .objectives import ACCURACY as ACCURACY
from .objectives import MSE as MSE
from .objectives import PERPLEXITY as PERPLEXITY
from .objectives import Objective as Objective
from .optimizer import default_optimizer as default_optimizer
from .smoothing import with_smooth_labels as with_smooth_labels
from .step import bptt as bptt
from .step import eval_step as eval_step
from .step import init_state as init_state
