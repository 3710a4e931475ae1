"""What is timed: recurrent layers of one width in one training step, and the floor below them.

A contender reads `[B, T, 9]` and classifies the last state into 6 classes (the sizes of HAR, whose
input and read-out products are small beside the recurrence). One training step is forward,
backward and Adam, the method `bptt` that `fit` takes.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from flax.typing import Dtype

from .._types import LowerSolver
from ..devices.memory import check_fits
from ..devices.mesh import DATA, PER_SAMPLE, REPLICATED, compiled, make_mesh, put
from ..lower.level import PAPER
from ..lower.operators import Dense, Diagonal, LowRank, Scalar
from ..lower.solvers import heavy_ball, nesterov, sgd
from ..nn.heads import SequenceClassifier
from ..nn.layer import SBORNN
from ..nn.recall import RecallRNN
from ..rollouts.fused import Fused
from ..rollouts.reading import Rollout
from ..rollouts.unrolled import Unrolled
from ..tasks._types import Batch
from ..training.method import OF_STEP
from ..training.objectives import ACCURACY
from ..training.step import OF_EVALUATION, bptt, eval_step, init_state, put_state
from .timing import Thunk

IN_FEATURES, CLASSES = 9, 6
GRID = ("128,64,128", "784,64,128", "128,512,128", "784,512,128", "128,64,512")
_AUTOMATIC = Unrolled()
_WIDEST_FUSED = 128
_MEMORY = 64

OPERATORS: dict[str, Any] = {
    "dense": Dense,
    "low_rank": LowRank,
    "diagonal": Diagonal,
    "scalar": Scalar,
}
SOLVERS: dict[str, Callable[..., Any]] = {
    "sgd": sgd,
    "heavy_ball": heavy_ball,
    "nesterov": nesterov,
}
# The delta rule by chunks of steps, and step by step.
MEMORIES = {"chunked": None, "unrolled": sgd(1.0)}
FLAX_CELLS = {
    "SimpleCell": nnx.SimpleCell,
    "GRUCell": nnx.GRUCell,
    "OptimizedLSTMCell": nnx.OptimizedLSTMCell,
}


class Shape(NamedTuple):
    """Time steps, samples, hidden units."""

    T: int
    B: int
    D: int

    @classmethod
    def parse(cls, text: str) -> "Shape":
        """``"T,B,D"``; ValueError unless it is three counts."""
        parts = text.split(",")
        if len(parts) != 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
            raise ValueError(f"expected a shape T,B,D as in 128,64,128, got {text!r}")
        shape = cls(*map(int, parts))
        check_fits(f"states of {shape}", 4 * math.prod(shape), "try fewer steps or units")
        check_fits(f"a matrix of {shape}", 4 * shape.D**2, "try fewer units")
        return shape

    def __str__(self) -> str:
        return ",".join(map(str, self))


class Contender(NamedTuple):
    """Two functions that block until ready, and what is known before they run.

    Args:
      train: a training step.
      infer: a forward pass over the batch, ours with loss and metric.
      parameters: trained numbers.
      compile_seconds: of the training step, tracing included; None if nothing is compiled.
      temp_mib: memory of the training step on one device beside its arguments and results,
        according to the compiler; None if unknown.
    """

    train: Thunk
    infer: Thunk
    parameters: int
    compile_seconds: float | None = None
    temp_mib: float | None = None


# None where a contender cannot hold the shape.
Build = Callable[[Shape], Contender | None]


def jax_contenders(devices: int = 1) -> dict[str, Build]:
    """SBO-RNN in each operator and solver, two in bfloat16, memories, and Flax's cells.

    Each shares every batch among so many devices. On a GPU also SBO-RNN fused into one kernel, but
    for low rank: the rank 50 fits no tile.
    """
    builds: dict[str, Build] = {}
    for operator_name in OPERATORS:
        for solver_name in SOLVERS:
            build = sbo(operator_name, solver_name, devices=devices)
            builds[f"sbo {operator_name} {solver_name}"] = build
    for operator_name in (name for name, kind in OPERATORS.items() if kind.units_interact):
        build = sbo(operator_name, "sgd", dtype=jnp.bfloat16, devices=devices)
        builds[f"sbo {operator_name} sgd bfloat16"] = build
    if jax.default_backend() == "gpu":
        for operator_name in (name for name in OPERATORS if name != "low_rank"):
            for solver_name in SOLVERS:
                name = f"sbo {operator_name} {solver_name} fused"
                builds[name] = partial(_fused, operator_name, solver_name, devices)
    for name, rule in MEMORIES.items():
        builds[f"recall {name}"] = partial(_recall, rule, devices)
    return builds | {
        f"flax {name}": partial(_flax, cell, devices) for name, cell in FLAX_CELLS.items()
    }


def floor(shape: Shape, devices: int = 1) -> Contender:
    """Only the matrix products that no implementation can avoid, on each device for its samples.

    A training step: a chain of 4 T dependent (B, D) x (D, D) products, two per step forward and
    two backward, and one product with the operations of the weight gradient, (D, 2TB) x (2TB, D).
    Inference: the first 2 T of the chain.
    """
    T, B, D = shape
    key = jax.random.key(0)
    w = jax.random.normal(key, (D, D)) / D**0.5
    h = jnp.ones((B, D))
    rows = jax.random.normal(key, (2 * T * B, D))

    def chain(h: jax.Array, length: int) -> jax.Array:
        return jax.lax.fori_loop(0, length, lambda _, h: h @ w, h)

    def train(h: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        return chain(h, 4 * T), jax.lax.psum(rows.T @ rows, DATA)

    def infer(h: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        return chain(h, 2 * T), jnp.zeros(())

    mesh = make_mesh(data=devices)
    places: Any = {"in_specs": (PER_SAMPLE, PER_SAMPLE), "out_specs": (PER_SAMPLE, REPLICATED)}
    arrays = put(mesh, PER_SAMPLE, (h, rows))

    def thunk(fn: Callable[..., Any]) -> Thunk:
        spread = jax.jit(jax.shard_map(fn, mesh=mesh, check_vma=False, **places))
        return lambda: jax.block_until_ready(spread(*arrays))

    return Contender(thunk(train), thunk(infer), 0)


def draw_batch(shape: Shape) -> Batch:
    """Standard normal inputs and random classes."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(shape.B, shape.T, IN_FEATURES)).astype(np.float32)
    return Batch(inputs, rng.integers(CLASSES, size=shape.B), np.ones(shape.B, np.float32))


def sbo(
    operator: str,
    solver: str,
    rollout: Rollout = _AUTOMATIC,
    dtype: Dtype | None = None,
    devices: int = 1,
) -> Callable[[Shape], Contender]:
    """SBO-RNN with the paper's hyper-parameters, read by `rollout`, products in `dtype`."""
    lower = replace(PAPER, operator=OPERATORS[operator].init, solver=SOLVERS[solver])

    def build(shape: Shape) -> Contender:
        rngs = nnx.Rngs(0)
        layer = SBORNN(IN_FEATURES, shape.D, lower=lower, rollout=rollout, dtype=dtype, rngs=rngs)
        return _classifier(layer, shape, rngs, devices)

    return build


def _fused(operator: str, solver: str, devices: int, shape: Shape) -> Contender | None:
    """None for widths that are no power of two, and matrices too large for one multiprocessor."""
    too_wide = OPERATORS[operator].units_interact and shape.D > _WIDEST_FUSED
    if shape.D < 16 or shape.D & (shape.D - 1) or too_wide:
        return None
    return sbo(operator, solver, Fused(), devices=devices)(shape)


def _recall(solver: LowerSolver | None, devices: int, shape: Shape) -> Contender | None:
    """One layer of memories of 64 x 64; None for widths that hold no whole number of them."""
    if shape.D % _MEMORY:
        return None
    rngs, heads = nnx.Rngs(0), shape.D // _MEMORY
    layer = RecallRNN(IN_FEATURES, shape.D, num_heads=heads, solver=solver, rngs=rngs)
    return _classifier(layer, shape, rngs, devices)


def _flax(cell: Any, devices: int, shape: Shape) -> Contender:
    rngs = nnx.Rngs(0)
    layer = nnx.RNN(cell(IN_FEATURES, shape.D, rngs=rngs), rngs=rngs)
    return _classifier(layer, shape, rngs, devices)


def _classifier(layer: nnx.Module, shape: Shape, rngs: nnx.Rngs, devices: int) -> Contender:
    model = SequenceClassifier(layer, shape.D, CLASSES, rngs=rngs)
    method = bptt(optax.adam(1e-3))
    graphdef, state = init_state(model, method)
    mesh = make_mesh(data=devices)
    state, batch = put_state(mesh, state), put(mesh, PER_SAMPLE, draw_batch(shape))
    start = time.perf_counter()
    step: Any = compiled(mesh, OF_STEP, method.step, ACCURACY, graphdef)
    train = step.lower(state, batch).compile()
    seconds = time.perf_counter() - start
    infer = compiled(mesh, OF_EVALUATION, eval_step, ACCURACY, graphdef)
    memory = train.memory_analysis()
    return Contender(
        lambda: jax.block_until_ready(train(state, batch)),
        lambda: jax.block_until_ready(infer(state, batch)),
        sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        seconds,
        memory and memory.temp_size_in_bytes / 2**20,
    )
