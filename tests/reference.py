"""The paper's loops in plain NumPy and float64: the oracle of every rollout.

Written from the equations alone (Zhang et al. 2021, eqs. 7-9, and the gradient of the release), one
sample at a time, with dense matrices and no library below it but NumPy. Row vectors throughout.
"""

from collections.abc import Callable

import numpy as np

Activation = tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]

RELU: Activation = (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(np.float64))
TANH: Activation = (np.tanh, lambda z: 1 - np.tanh(z) ** 2)
IDENTITY: Activation = (lambda z: z, np.ones_like)


def residual_gradient(h, u, w, alpha=1.0, activation=RELU):
    """``(alpha I - W D)(alpha h - phi(z))`` as a row vector, z = h W + u, D = diag(phi'(z))."""
    phi, slope = activation
    z = h @ w + u
    jacobian = alpha * np.eye(len(h)) - w @ np.diag(slope(z))
    return jacobian @ (alpha * h - phi(z))


def sgd(h0, us, w, eta, mu=None, **problem):
    """``h_t = h_{t-1} - eta g_t``."""
    h, hs = h0, []
    for u in us:
        h = h - eta * residual_gradient(h, u, w, **problem)
        hs.append(h)
    return np.array(hs)


def heavy_ball(h0, us, w, eta, mu, **problem):
    """``m_t = mu m_{t-1} - eta g_t;  h_t = h_{t-1} + m_t``."""
    h, m, hs = h0, np.zeros_like(h0), []
    for u in us:
        m = mu * m - eta * residual_gradient(h, u, w, **problem)
        h = h + m
        hs.append(h)
    return np.array(hs)


def nesterov(h0, us, w, eta, mu, **problem):
    """``m_t = h_{t-1} - eta g_t;  h_t = m_t + mu (m_t - m_{t-1})``, m_0 = h_0."""
    h, m, hs = h0, h0, []
    for u in us:
        m_old, m = m, h - eta * residual_gradient(h, u, w, **problem)
        h = m + mu * (m - m_old)
        hs.append(h)
    return np.array(hs)


def vanilla_rnn(h0, us, w):
    """``h_t = tanh(h_{t-1} W + u_t)``."""
    h, hs = h0, []
    for u in us:
        h = np.tanh(h @ w + u)
        hs.append(h)
    return np.array(hs)


def fast_rnn(h0, us, w, a, b, phi=np.tanh):
    """``h_t = a phi(h_{t-1} W + u_t) + b h_{t-1}`` (Kusupati et al. 2018, eq. 2)."""
    h, hs = h0, []
    for u in us:
        h = a * phi(h @ w + u) + b * h
        hs.append(h)
    return np.array(hs)


def batched(loop, h0, us, *args, **kwargs):
    """Run `loop` on each sample of a time-major batch `[T, B, D]`."""
    runs = [loop(h0[i], us[:, i], *args, **kwargs) for i in range(us.shape[1])]
    return np.stack(runs, axis=1)


def finite_differences(f, x, step=1e-6):
    """Central differences of the scalar function `f` in every entry of the array `x`."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        offset = np.zeros_like(x)
        offset[index] = step
        gradient[index] = (f(x + offset) - f(x - offset)) / (2 * step)
    return gradient


def arrays_of(operator):
    """The arrays of an operator by name, without the dtype of its products."""
    return {name: value for name, value in vars(operator).items() if name != "product_dtype"}


def matrix(operator):
    """The matrix W of one of the library's operators, from its definition."""
    arrays = {name: np.float64(value) for name, value in arrays_of(operator).items()}
    match type(operator).__name__:
        case "Dense":
            return np.eye(len(arrays["a"])) + arrays["a"]
        case "LowRank":
            return np.eye(len(arrays["u"])) + arrays["u"] @ arrays["v"]
        case "Diagonal":
            return np.diag(arrays["w"])
        case "Scalar":
            return arrays["w"]
