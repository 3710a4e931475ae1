"""Block coordinate descent on mini-batches, and the networks that it can solve block by block.

The blocks themselves are in `blocks`.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._checks import check_counts
from .._types import InputSequence
from .blocks import Blocks, ReLUParameters, Splitting, update_blocks
from .network import (
    Average,
    Network,
    Outputs,
    Params,
    Relaxation,
    RelaxedInfo,
    before,
    describe,
    subproblem,
)


class ReLUNetwork(NamedTuple):
    """A vanilla ReLU network inside parameters of any structure.

    Args:
      functions: the same network, as `Network`.
      weights: ``params -> ReLUParameters``, with W itself (`Dense` stores W - I).
      moved: ``(params, change) -> params``, moved by a change of the weights.
      curvature: ``outputs -> c``, where the loss's Hessian in the outputs is at most c I.
    """

    functions: Network
    weights: Callable[[Params], ReLUParameters]
    moved: Callable[[Params, ReLUParameters], Params]
    curvature: Callable[[Outputs], float]


class BlockState(NamedTuple):
    """Nothing: gamma is fixed and there is no optimiser."""


def block_coordinate_descent(gamma: float, *, prox: float = 1.0, sweeps: int = 1) -> Relaxation:
    """`sweeps` over all blocks of a batch, from its true states; the step takes a `ReLUNetwork`.

    Only for ``h_t = relu(h_{t-1} W + x_t V + b)``: an SGD step on the residual energy contains W
    twice, and tanh is not piecewise linear. A block is coupled to its neighbours only, so every
    time step in between damps the loss's influence on h_t. `prox` keeps batches from overwriting
    one another.

    Source: Zhang & Brand 2017; Zeng, Lau et al. 2019. They sweep over the whole training set and
    keep its states.
    """
    check_counts(sweeps=sweeps)
    if not (0 < gamma < math.inf and 0 < prox < math.inf):
        raise ValueError(
            f"expected finite gamma > 0 and prox > 0, got {gamma:g} and {prox:g}; try 1.0"
        )

    def init(params: Params) -> BlockState:
        del params
        return BlockState()

    def step(
        network: ReLUNetwork,
        params: Params,
        state: BlockState,
        xs: InputSequence,
        targets: Any,
        average: Average = lambda tree: tree,
    ) -> tuple[Params, BlockState, RelaxedInfo]:
        problem, start = subproblem(network.functions, params, xs, targets, gamma)
        old = network.weights(params)
        curvature = network.curvature(old.outputs(start[-1]))
        splitting = Splitting(network.functions.loss, curvature, xs, targets, gamma, prox)
        blocks = Blocks(start, old.preactivation(before(start), xs), old)
        for _ in range(sweeps):
            blocks = update_blocks(splitting, blocks, average)
        info = describe(problem, start, blocks.hs, average)
        change = jax.tree.map(jnp.subtract, blocks.weights, old)
        return network.moved(params, change), state, info

    return Relaxation(init, step)
