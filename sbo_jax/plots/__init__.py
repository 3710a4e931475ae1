"""Figures of training, sweeps and stability; the only room that imports matplotlib and plotly.

Lines differ in dash and marker as well as in colour, and cells show their number, so that figures
can be read without colour. Text and axes have matplotlib's colours, for a light or a dark page:
``import matplotlib.style``, ``with matplotlib.style.context("dark_background"): ...``. Figures are
returned and never shown; a notebook shows them after ``%matplotlib inline``.
"""

from .curves import compare_learning_curves as compare_learning_curves
from .curves import flow_ratio_curves as flow_ratio_curves
from .curves import learned_curves as learned_curves
from .curves import learning_curves as learning_curves
from .curves import seed_curves as seed_curves
from .curves import sweep_curves as sweep_curves
from .heat_map import eta_heat_map as eta_heat_map
from .hover import sweep_page as sweep_page
from .insights import hidden_states as hidden_states
from .insights import saliency as saliency
from .insights import time_scales as time_scales
from .models import gradient_flow as gradient_flow
from .models import results as results
from .models import spectrum as spectrum
from .png import png as png
from .predictions import confusion as confusion
from .predictions import predicted as predicted
from .relaxed_training import relaxations as relaxations
from .trade_offs import Point as Point
from .trade_offs import against_fraction as against_fraction
from .trade_offs import against_parameters as against_parameters
