"""What is promised holds on devices that round the operands of products: TPUs, GPUs in TF32."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend import core as jax_core

import sbo_jax as sbo
from sbo_jax._numerics import spectral_norm_bound, with_exact_products
from sbo_jax.lower.composed import damped
from sbo_jax.lower.step import lower_gradient
from sbo_jax.relaxations.blocks import Blocks, ReLUParameters, Splitting, update_blocks
from sbo_jax.rollouts.implicit import ProblemData, attach_gradient, solve_adjoint

D, B, T = 16, 3, 4
PASSES = {"bfloat16": (8, jnp.bfloat16), "TF32": (11, None)}


@pytest.fixture(autouse=True)
def as_users_have_it():
    """The other tests ask for exact products; here the library has to."""
    with jax.default_matmul_precision("default"):
        yield


def rounded(x, kind):
    """`x` as one pass of the device's multiplier sees it."""
    bits, dtype = PASSES[kind]
    if dtype is not None:
        return x.astype(dtype).astype(x.dtype)
    scale = 2.0 ** (jnp.floor(jnp.log2(jnp.maximum(jnp.abs(x), 1e-30))) - bits + 1)
    return jnp.round(x / scale) * scale


def on_device(function, kind):
    """`function` with the products of default precision as the device computes them."""

    def run(*args):
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        leaves = evaluate(closed.jaxpr, closed.consts, jax.tree.leaves(args), kind)
        return jax.tree.unflatten(jax.tree.structure(shape), leaves)

    return run


def is_exact(equation):
    precision = equation.params["precision"]
    return precision is not None and set(precision) == {jax.lax.Precision.HIGHEST}


def evaluate(jaxpr, consts, args, kind):
    """The jaxpr, equation by equation, with loops and calls opened."""
    values = dict(zip(jaxpr.constvars, consts, strict=True))
    values |= dict(zip(jaxpr.invars, args, strict=True))

    def read(atom):
        return atom.val if isinstance(atom, jax_core.Literal) else values[atom]

    for equation in jaxpr.eqns:
        inputs, name = [read(atom) for atom in equation.invars], equation.primitive.name
        if name == "dot_general" and not is_exact(equation):
            inputs = [rounded(x, kind) for x in inputs]
        if name in ("jit", "pjit", "custom_jvp_call", "closed_call", "remat2"):
            inner = equation.params.get("jaxpr") or equation.params["call_jaxpr"]
            outputs = evaluate(inner.jaxpr, inner.consts, inputs, kind)
        else:
            outputs = equation.primitive.bind(*inputs, **equation.params)
            outputs = outputs if equation.primitive.multiple_results else [outputs]
        values |= dict(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def products(jaxpr) -> Iterator:
    """Every matrix product in a jaxpr, loops and derivatives included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation
        for parameter in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns"):
                yield from products(inner)


def check_exact(function, *args):
    found = list(products(jax.make_jaxpr(function)(*args).jaxpr))
    assert found
    assert all(map(is_exact, found))


def matrices(rng):
    """Of rank one, and products of Gaussians: those on which rounding costs most."""
    yield np.outer(rng.normal(size=D), rng.normal(size=D))
    yield rng.normal(size=(D, D)) @ rng.normal(size=(D, D))
    yield rng.normal(size=(D, 2)) @ rng.normal(size=(2, D))


BOUNDS = {
    "dense": lambda rng: sbo.Dense(jnp.float32(next(matrices(rng)))),
    "low rank": lambda rng: sbo.LowRank(
        jnp.float32(rng.normal(size=(D, 3))), jnp.float32(rng.normal(size=(3, D)))
    ),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_and_their_gradients_multiply_exactly(rng, name):
    theta = BOUNDS[name](rng)
    check_exact(lambda theta: theta.curvature(0.5), theta)
    check_exact(jax.grad(lambda theta: theta.gap(0.5)), theta)


@pytest.mark.parametrize("kind", PASSES)
def test_a_bound_is_one_on_a_device_that_rounds_products(rng, kind):
    for matrix in [m for _ in range(5) for m in matrices(rng)]:
        # one iteration, unrolled, so that nothing hides in a loop
        bound = on_device(partial(spectral_norm_bound, num_iterations=1), kind)(jnp.float32(matrix))
        assert bound >= np.linalg.norm(np.float64(np.float32(matrix)), 2)


@pytest.mark.parametrize("kind", PASSES)
def test_the_emulation_is_seen_where_products_round(rng, kind):
    x, w = (jnp.float32(rng.normal(size=(D, D))) for _ in range(2))
    error = np.abs(on_device(jnp.matmul, kind)(x, w) - np.float64(x) @ np.float64(w)).max()
    assert error > 1e-4


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_bounds_hold_in_every_type_of_parameters(rng, dtype, alpha):
    for init in (sbo.Dense.init, sbo.LowRank.init, sbo.Diagonal.init):
        theta = init(jax.random.key(rng.integers(1000)), D)
        theta = jax.tree.map(lambda leaf: (leaf + rng.normal(size=leaf.shape)).astype(dtype), theta)
        w = np.float64(jax.tree.map(jnp.float32, theta)(jnp.eye(D)))
        norm = np.linalg.norm(alpha * np.eye(D) - w, 2)
        slack = 1 if dtype == jnp.bfloat16 else 1 - 2e-7  # rounding of the last operation
        assert float(theta.gap(alpha)) >= norm * slack
        assert float(theta.curvature(alpha)) >= max(alpha, norm) ** 2 * slack
        assert theta.curvature(alpha).dtype == dtype


def problem(rng):
    theta = sbo.Dense.init(jax.random.key(rng.integers(1000)), D)
    h, u = (jnp.float32(rng.normal(size=(B, D))) for _ in range(2))
    return sbo.Residual(jnp.tanh), sbo.sgd(0.1), h, u, theta


def test_implicit_solves_and_their_gradients_multiply_exactly(rng):
    energy, solver, h, u, theta = problem(rng)

    def solved(theta):
        h_star, info = sbo.solve_implicit(energy, solver, h, u, theta, num_steps=3, damping=1.0)
        return jnp.sum(h_star**2) + jnp.sum(info.value)

    def attached(theta):
        return jnp.sum(attach_gradient(energy, h, u, theta, damping=1.0)[0] ** 2)

    check_exact(jax.grad(solved), theta)
    check_exact(jax.grad(attached), theta)
    data = ProblemData(u, theta, h)
    check_exact(lambda v: solve_adjoint(energy, h, data, v)[0], h)


def test_blocks_whose_objective_must_not_rise_are_minimised_with_exact_products(rng):
    shapes = {"recurrent": (D, D), "kernel": (2, D), "bias": (D,)}
    shapes |= {"readout_kernel": (D, 1), "readout_bias": (1,)}
    draw = {name: jnp.float32(rng.normal(size=shape)) for name, shape in shapes.items()}
    xs, states = (jnp.float32(rng.normal(size=(T, B, n))) for n in (2, D))
    ys = jnp.float32(rng.normal(size=(B, 1)))

    def squared(outputs, targets):
        return jnp.sum((outputs - targets) ** 2, axis=-1)

    splitting = Splitting(squared, 2.0, xs, ys, 1.0, 0.3)
    blocks = Blocks(jax.nn.relu(states), states, ReLUParameters(**draw))
    check_exact(lambda blocks: update_blocks(splitting, blocks), blocks)


@pytest.mark.parametrize("rollout", [sbo.SequenceEquilibrium(), sbo.StepEquilibrium()])
def test_an_equilibrium_layer_multiplies_exactly_within_its_solves(rng, rollout):
    """All products but that of the drives, which is part of the data of the equation."""
    lower = replace(sbo.EQUILIBRIUM, operator=sbo.Dense.init)
    rnn = sbo.SBORNN(2, D, lower=lower, rollout=rollout, rngs=nnx.Rngs(0))
    graphdef, params, rest = nnx.split(rnn, nnx.Param, ...)
    xs = jnp.float32(rng.normal(size=(B, T, 2)))

    def loss(params):
        return jnp.sum(nnx.merge(graphdef, params, rest)(xs) ** 2)

    found = products(jax.make_jaxpr(jax.grad(loss))(params).jaxpr)
    of_states = [e for e in found if all(2 not in v.aval.shape for v in e.invars + e.outvars)]
    assert of_states
    assert all(map(is_exact, of_states))


def test_one_pass_of_a_device_cannot_reach_the_tolerance_that_exact_products_reach(rng):
    """Why the solves are exact: the same steps, with products as they would be rounded."""
    energy, _, h, u, theta = problem(rng)
    damped_energy = damped(energy, 1.0)

    def gradient(at):
        return lower_gradient(damped_energy, at, u, theta, h)

    exact = with_exact_products(gradient)

    def residual(gradient):
        at = jax.jit(lambda h: jax.lax.fori_loop(0, 500, lambda _, h: h - 0.2 * gradient(h), h))(h)
        return float(jnp.max(jnp.linalg.norm(exact(at), axis=-1)))

    assert residual(exact) < 1e-4
    assert all(residual(on_device(gradient, kind)) > 1e-4 for kind in PASSES)
