"""The rollout as one kernel against the rollout step by step.

The kernels are interpreted, which tests their mathematics, and lowered to Triton, which tests that
a GPU knows all their operations. Where there is a GPU, they run on it too.
"""

import sys
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

import sbo_jax as sbo
from sbo_jax.lower.energies import IncrementalEquilibrium, Residual, Transition
from sbo_jax.lower.operators import Dense, Diagonal, LowRank, Scalar, with_product_dtype
from sbo_jax.lower.solvers import heavy_ball, nesterov, sgd
from sbo_jax.rollouts.fused import unroll_fused
from sbo_jax.rollouts.unrolled import unroll

T, D = 9, 16
OPERATORS = {
    "dense": Dense.init,
    "low rank": partial(LowRank.init, rank=16),
    "diagonal": Diagonal.init,
    "scalar": Scalar.init,
}
SOLVERS = {"sgd": lambda eta, mu: sgd(eta), "heavy ball": heavy_ball, "nesterov": nesterov}
PROBLEMS = {
    "relu": Residual(),
    "tanh": Residual(jnp.tanh, alpha=0.8),
    "transition": Transition(),
    "incremental": IncrementalEquilibrium(),
}


def draw(rng, operator, batch, dtype):
    theta = OPERATORS[operator](jax.random.key(rng.integers(2**31)), D, dtype)
    h0, us = (jnp.asarray(rng.normal(size=s), dtype) for s in ((*batch, D), (T, *batch, D)))
    smoothness = 1 + theta.curvature(1.0)
    eta = jnp.asarray(rng.uniform(0.01, 0.9, D), dtype) / jnp.broadcast_to(smoothness, D)
    return h0, us, theta, eta, jnp.asarray(rng.uniform(0.1, 0.9), dtype)


def outcome(rollout, problem, solver, weights, mask=None):
    """Carry, all h and the gradient of a loss in everything, jitted."""

    def loss(h0, us, theta, eta, mu):
        carry, hs = rollout(problem, solver(eta, mu), h0, us, theta, mask=mask)
        return jnp.sum(weights * hs) + jnp.sum(jnp.sin(carry.h)), (carry, hs)

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3, 4), has_aux=True))


interpreted = partial(unroll_fused, interpret=True)

# jax 0.12 warns where it lowers to Triton; the warning is expected here alone.
lowers_to_triton = pytest.mark.filterwarnings(
    "ignore:The Pallas Triton backend is deprecated:DeprecationWarning"
)


on_a_gpu = pytest.mark.skipif(jax.default_backend() != "gpu", reason="no GPU")


def lowered(program, arguments):
    """The text of the program for a GPU; jax 0.12 asks which one, and none need be at hand."""
    h100 = AbstractDevice("NVIDIA H100", num_cores=132, platform="cuda")
    with use_abstract_mesh(AbstractMesh((), (), abstract_device=h100)):
        return program.trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_fused_equals_step_by_step_forward_and_gradient(x64, rng, operator, solver):
    batch = [(), (3,), (20,), (2, 9)][rng.integers(4)]
    arguments = draw(rng, operator, batch, jnp.float64)
    weights = jnp.asarray(rng.normal(size=(T, *batch, D)))
    mask = jnp.asarray(rng.random((T, *batch)) < 0.7) if rng.random() < 0.5 else None
    options = (PROBLEMS[rng.choice(list(PROBLEMS))], SOLVERS[solver], weights, mask)
    actual = outcome(interpreted, *options)(*arguments)
    expected = outcome(unroll, *options)(*arguments)
    chex.assert_trees_all_close(actual, expected, rtol=1e-9, atol=1e-10)


@on_a_gpu
@lowers_to_triton
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_compiled_for_a_gpu_it_equals_step_by_step(rng, operator, solver, problem):
    arguments = draw(rng, operator, (20,), jnp.float32)
    weights = jnp.asarray(rng.normal(size=(T, 20, D)), jnp.float32)
    mask = jnp.asarray(rng.random((T, 20)) < 0.7) if rng.random() < 0.5 else None
    options = (PROBLEMS[problem], SOLVERS[solver], weights, mask)
    with jax.default_matmul_precision("highest"):
        actual = outcome(unroll_fused, *options)(*arguments)
        expected = outcome(unroll, *options)(*arguments)
    chex.assert_trees_all_close(actual, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_it_holds_in_single_precision(rng, problem):
    arguments = draw(rng, "dense", (5,), jnp.float32)
    options = (PROBLEMS[problem], nesterov, jnp.ones((T, 5, D)))
    actual = outcome(interpreted, *options)(*arguments)
    expected = outcome(unroll, *options)(*arguments)
    chex.assert_trees_all_close(actual, expected, rtol=1e-3, atol=1e-3)


def test_a_rollout_goes_on_from_its_carry(x64, rng):
    h0, us, theta, eta, mu = draw(rng, "dense", (3,), jnp.float64)
    roll = partial(interpreted, Residual(), nesterov(eta, mu))
    middle, early = roll(h0, us[:4], theta)
    end, late = roll(middle, us[4:], theta)
    expected, all_hs = unroll(Residual(), nesterov(eta, mu), h0, us, theta)
    actual = (end, jnp.concatenate([early, late]))
    chex.assert_trees_all_close(actual, (expected, all_hs), rtol=1e-10)


@lowers_to_triton
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_both_kernels_lower_to_triton(rng, operator, solver):
    arguments = draw(rng, operator, (20,), jnp.float32)
    mask = jnp.asarray(rng.random((T, 20)) < 0.7)
    program = outcome(unroll_fused, Residual(), SOLVERS[solver], jnp.ones((T, 20, D)), mask)
    assert lowered(program, arguments).count("triton") == 2


def test_a_jax_without_triton_reads_no_sequence_by_it_and_says_so(rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax.experimental.pallas.triton", None)
    monkeypatch.delattr("jax.experimental.pallas.triton", raising=False)
    h0, us, theta, eta, _ = draw(rng, "dense", (3,), jnp.float32)
    with pytest.raises(ValueError, match=r"Pallas compiles by Triton, got 0.*; try .*unrolled\)"):
        unroll_fused(Residual(), sgd(eta), h0, us, theta)
    interpreted(Residual(), sgd(eta), h0, us, theta)


@lowers_to_triton
def test_kernels_multiply_in_the_operators_dtype(rng):
    h0, us, theta, *rest = draw(rng, "dense", (20,), jnp.float32)
    arguments = (h0, us, with_product_dtype(theta, jnp.bfloat16), *rest)
    options = (Residual(), nesterov, jnp.ones((T, 20, D)))
    (value, _), _ = outcome(interpreted, *options)(*arguments)
    (expected, _), _ = outcome(unroll, *options)(*arguments)
    np.testing.assert_allclose(value, expected, rtol=1e-2)
    assert lowered(outcome(unroll_fused, *options), arguments).count("triton") == 2


def test_a_layer_reads_its_sequence_in_one_kernel(rng):
    inputs = jnp.asarray(rng.normal(size=(3, T, 2)), jnp.float32)
    lower = sbo.LowerLevel(nesterov, sbo.STABLE.eta, sbo.STABLE.mu, operator=OPERATORS["low rank"])
    fused, plain = (
        sbo.SBORNN(2, D, num_layers=2, lower=lower, rollout=rollout, rngs=nnx.Rngs(0))
        for rollout in (sbo.Fused(interpret=True), sbo.Unrolled())
    )
    chex.assert_trees_all_close(fused(inputs), plain(inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"theta": LowRank.init(jax.random.key(0), D, rank=5)}, "got 5 for an axis of parameters"),
        ({"batch_block": 24}, "got 24 for batch_block"),
        ({"batch_block": 0}, "batch_block as a whole number >= 1"),
        ({"solver": optax.adam(1e-3)}, "one number per unit"),
    ],
)
def test_what_a_kernel_cannot_hold_is_refused(change, message):
    arguments = {
        "problem": Residual(),
        "solver": sgd(0.1),
        "h0": jnp.zeros((3, D)),
        "us": jnp.zeros((T, 3, D)),
        "theta": Dense(np.zeros((D, D), np.float32)),
    }
    with pytest.raises(ValueError, match=message):
        interpreted(**arguments | change)


def test_odd_widths_are_refused_with_a_way_out():
    with pytest.raises(ValueError, match=r"got 12 for hidden features.*read with unroll"):
        interpreted(
            Residual(), sgd(0.1), jnp.zeros((3, 12)), jnp.zeros((T, 3, 12)), Dense(jnp.eye(12))
        )


@pytest.mark.parametrize("shape", [(0, 3, 16), (5, 0, 16)])
def test_no_steps_and_no_samples_are_read_as_step_by_step(shape):
    theta, us, h0 = Diagonal(jnp.ones(16)), jnp.zeros(shape), jnp.ones(shape[1:])
    found = unroll_fused(Residual(), sgd(0.1), h0, us, theta, interpret=True)
    chex.assert_trees_all_equal(found, unroll(Residual(), sgd(0.1), h0, us, theta))
