"""The rollout as tensor-core kernels against the rollout step by step, and a step without them.

Mosaic GPU's interpret mode simulates memory, copies and barriers of a GPU, with a look for races.
It sees neither layouts nor registers, and multiplies in float32 where `wgmma` rounds to TF32. Where
there is a GPU, the kernels run on it too, with a tolerance for TF32.
"""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_fused import PROBLEMS, SOLVERS, on_a_gpu, outcome

from sbo_jax.lower.energies import Residual
from sbo_jax.lower.operators import Dense, Diagonal, LowRank, Scalar, with_product_dtype
from sbo_jax.lower.solvers import heavy_ball, nesterov, sgd
from sbo_jax.lower.step import as_carry, init_carry, lower_step
from sbo_jax.rollouts import ExperimentalFusedHopper
from sbo_jax.rollouts.fused_hopper import experimental_unroll_fused_hopper
from sbo_jax.rollouts.kernels.hoisting import HoistedStep
from sbo_jax.rollouts.reading import Reading
from sbo_jax.rollouts.unrolled import unroll

T, D = 3, 64
OPERATORS = {
    "dense": Dense.init,
    "low rank": partial(LowRank.init, rank=64),
    "diagonal": Diagonal.init,
    "scalar": Scalar.init,
}
interpreted = partial(experimental_unroll_fused_hopper, interpret=True)
has_mosaic = pytest.mark.skipif(jax.__version_info__ < (0, 12), reason="needs JAX 0.12")


def draw(rng, operator, samples, dtype=None):
    theta = OPERATORS[operator](jax.random.key(rng.integers(2**31)), D, jnp.float32)
    h0, us = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((samples, D), (T, samples, D)))
    eta = jnp.asarray(rng.uniform(0.01, 0.9, D) / (1 + theta.curvature(1.0)), jnp.float32)
    mu = jnp.asarray(rng.uniform(0.1, 0.9), jnp.float32)
    return h0, us, with_product_dtype(theta, dtype), eta, mu


def compare(rng, rollout, arguments, problem, solver, mask, tolerance):
    weights = jnp.asarray(rng.normal(size=arguments[1].shape), jnp.float32)
    options = (problem, SOLVERS[solver], weights, mask)
    with jax.default_matmul_precision("default"):
        actual = outcome(rollout, *options)(*arguments)
        expected = outcome(unroll, *options)(*arguments)
    chex.assert_trees_all_close(actual, expected, rtol=tolerance, atol=tolerance)


@has_mosaic
@pytest.mark.parametrize("operator", OPERATORS)
def test_it_equals_step_by_step_forward_and_gradient(rng, operator):
    problem, samples = PROBLEMS[rng.choice(list(PROBLEMS))], int(rng.integers(1, 70))
    mask = jnp.asarray(rng.random((T, samples)) < 0.7) if rng.random() < 0.5 else None
    solver = rng.choice(list(SOLVERS))
    arguments = draw(rng, operator, samples)
    compare(rng, interpreted, arguments, problem, solver, mask, 1e-3)


@has_mosaic
@pytest.mark.parametrize("operator", ["dense", "low rank"])
def test_it_multiplies_in_bfloat16(rng, operator):
    arguments = draw(rng, operator, 5, jnp.bfloat16)
    compare(rng, interpreted, arguments, PROBLEMS["tanh"], "sgd", None, 0.2)


@has_mosaic
def test_no_copy_races_with_a_product(rng):
    from jax.experimental.pallas import mosaic_gpu

    memory = mosaic_gpu.InterpretGPUParams(detect_races=True)
    rollout = partial(experimental_unroll_fused_hopper, interpret=memory)
    compare(rng, rollout, draw(rng, "dense", 3), Residual(), "sgd", None, 1e-3)


@on_a_gpu
@has_mosaic
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_compiled_for_a_gpu_it_equals_step_by_step_but_for_rounding(rng, operator, dtype):
    arguments = draw(rng, operator, 70, dtype)
    compare(rng, experimental_unroll_fused_hopper, arguments, PROBLEMS["tanh"], "sgd", None, 0.05)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_a_step_in_two_parts_is_the_step(rng, operator, problem, dtype):
    h0, us, *parameters = draw(rng, operator, 7, dtype)

    def step(carry, u, parameters):
        theta, eta, mu = parameters
        return lower_step(PROBLEMS[problem], nesterov(eta, mu), carry, u, theta)

    def multiply(block, matrix, axis, dtype):
        return jax.lax.dot_general(
            block, matrix, (((1,), (axis,)), ((), ())), preferred_element_type=dtype
        )

    carry = as_carry(nesterov(*parameters[1:]), h0)
    hoisted = HoistedStep.of(step, (carry, us[0]), parameters)
    actual = hoisted.rest((carry, us[0]), hoisted.before(parameters), multiply)
    expected = step(carry, us[0], parameters)
    chex.assert_trees_all_close(actual, expected, rtol=1e-6, atol=1e-6)
    matrices = {"dense": 1, "low rank": 2}.get(operator, 0)
    assert len({product.number for product in hoisted.products}) == matrices
    assert {product.dtype for product in hoisted.products} <= {jnp.dtype(dtype or jnp.float32)}


def test_products_of_states_with_each_other_are_refused():
    block = jnp.ones((64, 64))
    hoisted = HoistedStep.of(lambda h, w: h @ h @ w, (block,), block)
    with pytest.raises(ValueError, match=r"products of states with parameters, got .*; try unroll"):
        hoisted.products  # noqa: B018


@pytest.mark.skipif(jax.__version_info__ >= (0, 12), reason="for a JAX before 0.12")
def test_an_older_jax_is_refused_in_one_sentence(rng):
    h0, us, theta, *_ = draw(rng, "dense", 3)
    carry = init_carry(sgd(0.1), h0)
    with pytest.raises(ValueError, match=r"JAX 0\.12 or later, .* got 0\.\d+\.\d+; try Fused"):
        ExperimentalFusedHopper()(Reading(Residual(), sgd(0.1), carry, us, theta))


@has_mosaic
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"theta": LowRank.init(jax.random.key(0), D, rank=5)}, r"got the shape \(64, 5\)"),
        ({"solver": optax.adam(1e-3)}, "one number per unit"),
        ({"h0": jnp.zeros((3, 48)), "us": jnp.zeros((T, 3, 48))}, "got float32 and 48"),
        ({"us": jnp.zeros((T, 3, D), jnp.float16)}, "expected float32 .* got float16"),
    ],
)
def test_what_a_kernel_cannot_hold_is_refused(change, message):
    arguments = {
        "problem": Residual(),
        "solver": sgd(0.1),
        "h0": jnp.zeros((3, D)),
        "us": jnp.zeros((T, 3, D)),
        "theta": Dense(
            np.zeros((change.get("us", np.zeros((1, 1, D))).shape[-1],) * 2, np.float32)
        ),
    }
    with pytest.raises(ValueError, match=message):
        interpreted(**arguments | change)


@has_mosaic
def test_exact_products_are_refused_and_those_in_bfloat16_are_not(rng):
    h0, us, theta, *_ = draw(rng, "dense", 3)
    with jax.default_matmul_precision("highest"):
        with pytest.raises(ValueError, match=r"one pass of TF32, .* got the precision"):
            interpreted(Residual(), sgd(0.1), h0, us, theta)
        interpreted(Residual(), sgd(0.1), h0, us, with_product_dtype(theta, jnp.bfloat16))


@has_mosaic
def test_weights_that_shared_memory_does_not_hold_are_refused(rng):
    width = 256
    h0, us, theta = jnp.zeros((3, width)), jnp.zeros((T, 3, width)), Dense(jnp.eye(width))
    with (
        jax.default_matmul_precision("default"),
        pytest.raises(ValueError, match=r"fit 223 KiB of shared memory, got 576 KiB"),
    ):
        interpreted(Residual(), heavy_ball(0.1, 0.5), h0, us, theta)
