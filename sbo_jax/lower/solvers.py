"""The paper's three lower-level optimisers, as optax transformations over hidden states.

With g_t = grad_h F_t(h_{t-1}) and h_0, m_0 as the release has them (zero), all three are
`optax.sgd`, to rounding, and so are their derivatives in eta and mu. Any other
`optax.GradientTransformation` that needs the gradient alone (Adam, clipping, a chain) is a
lower-level solver too. To train through it, it must be differentiable at a gradient of exactly 0,
as a dead ReLU makes it. A square root is not: give Adam ``eps_root=1e-12``.

``eta > 0`` and ``0 <= mu < 1`` may be scalars or one number per hidden unit, traced or not: a sweep
over them is a `jax.vmap` and compiles once.

Source: Zhang et al. 2021, eqs. 7-9; update rules as in the authors' release.
"""

import optax

from .._types import Hyperparameter, LowerSolver


def sgd(eta: float | Hyperparameter) -> LowerSolver:
    """``h_t = h_{t-1} - eta g_t``."""
    return optax.sgd(eta)


def heavy_ball(eta: float | Hyperparameter, mu: float | Hyperparameter) -> LowerSolver:
    """``m_t = mu m_{t-1} - eta g_t;  h_t = h_{t-1} + m_t`` (SHB).

    Differs from the printed form when eta changes within a sequence: the state holds -m / eta.
    """
    return optax.sgd(eta, momentum=mu)


def nesterov(eta: float | Hyperparameter, mu: float | Hyperparameter) -> LowerSolver:
    """``m_t = h_{t-1} - eta g_t;  h_t = m_t + mu (m_t - m_{t-1})`` with m_0 = h_0 (SNAG).

    The state holds (m_{t-1} - m_t) / eta, so that h_0 need not be zero.
    """
    return optax.sgd(eta, momentum=mu, nesterov=True)
