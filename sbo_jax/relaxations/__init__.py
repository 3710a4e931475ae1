"""Training a recurrent network with its hidden states as free variables.

    min over om, th, {h_t}  mean over samples of  l(h_T, y; om) + sum_t lam/2 ||r_t||^2,
    r_t = h_t - f(h_{t-1}, x_t; th),  h_0 = 0.

Back-propagation enforces r_t = 0 and multiplies T Jacobians; here every h_t is coupled to its two
neighbours only. The price: memory for {h_t}, which grows with T, and parameters that fit relaxed
states instead of those of the deployed network. Each method therefore starts a batch at the true
states, carries only the parameters (and their optimiser) to the next, and reports r_t and the
outputs of both.

* `penalty_method`: the objective above, lam growing (Carreira-Perpinan & Wang 2014, MAC);
* `augmented_lagrangian`: multipliers p_t for ``r_t = 0``, so that lam need not grow (Taylor et al.
  2016). For fixed parameters the true states are the only feasible point, and there -p_t is the
  gradient dl/dh_t of back-propagation;
* `block_coordinate_descent`: lam fixed, one more splitting, every block in closed form (Zhang &
  Brand 2017; Zeng, Lau et al. 2019), for vanilla ReLU networks.

A method is a `Relaxation`: like an optax transformation, a pair of pure functions. Source of the
objective: Zhang et al. 2021, eq. 3, with the factor 1/2.
"""

from .block_coordinate import BlockState as BlockState
from .block_coordinate import ReLUNetwork as ReLUNetwork
from .block_coordinate import block_coordinate_descent as block_coordinate_descent
from .blocks import ReLUParameters as ReLUParameters
from .lagrangian import LagrangianState as LagrangianState
from .lagrangian import augmented_lagrangian as augmented_lagrangian
from .lagrangian import multiplier_step as multiplier_step
from .network import Network as Network
from .network import Relaxation as Relaxation
from .network import RelaxedInfo as RelaxedInfo
from .network import Subproblem as Subproblem
from .network import read as read
from .network import residual as residual
from .penalty import PenaltyState as PenaltyState
from .penalty import penalty_method as penalty_method
from .states import descent as descent
from .states import gauss_newton as gauss_newton
