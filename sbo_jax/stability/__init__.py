"""The paper's claim as numbers: bounds on eta, gradients through time, Jacobian spectra.

Three ways to look at dh_T/dh_0. *Bounds* hold before anything is run: `eta_bounds`, `report` and,
with momentum, `worst_radius`, `momentum_report`. *Flow* is one backward pass on real inputs:
`gradient_flow`. *Spectra* are exact for one sequence: `jacobian_spectrum`, `step_eigenvalues`. The
last two take any recurrence ``step(carry, x) -> (carry, y)``; `recurrence` makes one of a problem.
"""

from .bounds import EtaBounds as EtaBounds
from .bounds import eta_bounds as eta_bounds
from .bounds import gradient_ceiling as gradient_ceiling
from .bounds import gradient_floor as gradient_floor
from .eigenvalues import mean_step_eigenvalues as mean_step_eigenvalues
from .eigenvalues import step_eigenvalues as step_eigenvalues
from .flow import flow_ratio as flow_ratio
from .flow import gradient_flow as gradient_flow
from .momentum import HEAVY_BALL as HEAVY_BALL
from .momentum import NESTEROV as NESTEROV
from .momentum import Momentum as Momentum
from .momentum import heavy_ball_companion as heavy_ball_companion
from .momentum import heavy_ball_product_limit as heavy_ball_product_limit
from .momentum import heavy_ball_step_limit as heavy_ball_step_limit
from .momentum import nesterov_companion as nesterov_companion
from .momentum import nesterov_product_limit as nesterov_product_limit
from .momentum import nesterov_step_limit as nesterov_step_limit
from .momentum import spectral_radius as spectral_radius
from .momentum import worst_radius as worst_radius
from .spectrum import JacobianSpectrum as JacobianSpectrum
from .spectrum import jacobian_spectrum as jacobian_spectrum
from .steps import recurrence as recurrence
from .summary import momentum_report as momentum_report
from .summary import report as report
