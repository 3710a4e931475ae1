"""Training with hidden states as free variables: against back-propagation, NumPy and search."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sbo_jax as sbo
from sbo_jax import relaxations
from sbo_jax.relaxations import blocks as block
from sbo_jax.relaxations.block_coordinate import ReLUNetwork, ReLUParameters
from sbo_jax.relaxations.network import Network, Subproblem
from sbo_jax.training.objectives import cross_entropy

T, B, D, K = 5, 3, 4, 2
GAUSS_NEWTON = relaxations.gauss_newton(4)


def squared(outputs, targets):
    return 0.5 * jnp.sum((outputs - targets) ** 2, axis=-1)


def readout(weights, h):
    return weights.outputs(h)


def vanilla(phi, loss=squared):
    def transition(weights):
        return lambda h, x: phi(weights.preactivation(h, x))

    return Network(transition, readout, loss, D)


def bilevel(loss=squared):
    """h_t = h_{t-1} - eta grad F: SGD on the paper's energy, within its bound."""

    def transition(weights):
        theta = sbo.Dense(weights.recurrent)
        problem = sbo.Residual()
        solver = sbo.sgd(0.7 / problem.smoothness(theta))

        def step(h, x):
            u = x @ weights.kernel + jnp.broadcast_to(weights.bias, h.shape)
            return sbo.lower_step(problem, solver, sbo.lower.init_carry(solver, h), u, theta).h

        return step

    return Network(transition, readout, loss, D)


NETWORKS = {"sbo": bilevel(), "tanh": vanilla(jnp.tanh), "relu": vanilla(jax.nn.relu)}


def draw(rng, dtype=np.float64):
    shapes = ReLUParameters((D, D), (2, D), (D,), (D, K), (K,))
    weights = ReLUParameters(*(rng.uniform(-0.5, 0.5, shape).astype(dtype) for shape in shapes))
    xs, ys = (rng.normal(size=s).astype(dtype) for s in ((T, B, 2), (B, K)))
    return jax.tree.map(jnp.asarray, (weights, xs, ys))


def draw_away_from_kinks(rng, name):
    """A draw whose ReLUs stay on their side while a solve moves the states by about 0.01.

    Across a kink the gradient of the paper's energy jumps, and with it the merit: a line search may
    then find no lower one, and its sample stands still away from any KKT point.
    """
    read = jax.jit(partial(relaxations.read, NETWORKS[name]))
    while True:
        weights, xs, ys = draw(rng)
        before = jnp.concatenate([jnp.zeros((1, B, D)), read(weights, xs)[:-1]])
        z = weights.preactivation(before, xs)
        if name == "sbo":  # Dense is I + W
            z = z + before
        if jnp.min(jnp.abs(z)) > 0.02:
            return weights, xs, ys


def bptt(network, weights, xs, ys):
    """Mean loss of the plain recursion, written out once more."""
    h = jnp.zeros((B, D), xs.dtype)
    for x in xs:
        h = network.transition(weights)(h, x)
    return jnp.mean(network.loss(network.readout(weights, h), ys))


def adjoints(network, weights, xs, ys):
    """dl/dh_t of every sample: of what is added to h_t."""

    def loss(added):
        h = jnp.zeros((B, D), xs.dtype)
        for x, more in zip(xs, added, strict=True):
            h = network.transition(weights)(h, x) + more
        return jnp.sum(network.loss(network.readout(weights, h), ys))

    return jax.grad(loss)(jnp.zeros((T, B, D), xs.dtype))


def problem_of(network, weights, xs, ys, penalty):
    problem = Subproblem(network, weights, xs, ys, jnp.asarray(penalty), jnp.zeros((T, B, D)))
    return problem, relaxations.read(network, weights, xs)


def assert_close(a, b, rtol):
    scale = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(b))
    chex.assert_trees_all_close(a, b, rtol=0, atol=rtol * scale)


@pytest.mark.parametrize("name", NETWORKS)
def test_at_a_kkt_point_the_multipliers_are_minus_the_adjoints(x64, rng, name):
    network, sample = NETWORKS[name], draw_away_from_kinks(rng, name)
    problem, start = problem_of(network, *sample, 200.0)

    @jax.jit
    def solve(hs):
        def one_round(_, loop):
            hs, multipliers = loop
            now = problem._replace(multipliers=multipliers)
            hs = GAUSS_NEWTON(now, hs)
            return hs, relaxations.multiplier_step(now, hs, jnp.inf)[0].multipliers

        return jax.lax.fori_loop(0, 25, one_round, (hs, problem.multipliers))

    hs, multipliers = solve(start)
    solved = problem._replace(multipliers=multipliers)
    assert_close(hs, start, 1e-7)  # the only feasible point
    assert_close(-multipliers, jax.jit(partial(adjoints, network))(*sample), 1e-6)
    expected = jax.jit(jax.grad(partial(bptt, network)))(*sample)
    assert_close(jax.jit(solved.params_gradient)(hs), expected, 1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_penalty_gradient_tends_to_that_of_back_propagation(x64, rng, name):
    network, sample = NETWORKS[name], draw_away_from_kinks(rng, name)
    expected = jax.jit(jax.grad(partial(bptt, network)))(*sample)

    @jax.jit
    def error(penalty):
        problem, start = problem_of(network, *sample, penalty)
        gradient = problem.params_gradient(GAUSS_NEWTON(problem, start))
        return optax.tree.norm(optax.tree.sub(gradient, expected)) / optax.tree.norm(expected)

    errors = [float(error(penalty)) for penalty in (1e3, 1e4, 1e5)]
    assert errors[0] < 0.2
    assert errors[2] < errors[0] / 20  # of first order in 1 / lam: 100


def test_both_state_solvers_find_the_same_states(x64, rng):
    problem, start = problem_of(NETWORKS["tanh"], *draw(rng), 20.0)
    newton = jax.jit(partial(relaxations.gauss_newton(20), problem))(start)
    slow = jax.jit(partial(relaxations.descent(sbo.nesterov(0.1, 0.9), 2000), problem))(start)
    assert_close(slow, newton, 1e-5)
    gradient = jax.grad(lambda hs: jnp.sum(problem.merit(hs)))(slow)
    np.testing.assert_allclose(gradient, 0, atol=1e-8)


def test_gauss_newton_never_raises_the_merit_of_a_sample(rng):
    problem, start = problem_of(NETWORKS["sbo"], *draw(rng, np.float32), 0.01)
    step = jax.jit(partial(relaxations.gauss_newton(1), problem))
    for _ in range(4):
        new = step(start)
        rounding = 1 + 1e-5  # at a minimum, the merits differ in their last bits
        assert jnp.all(problem.merit(new) <= problem.merit(start) * rounding)
        start = new


def test_the_residual_is_the_one_that_numpy_computes(rng):
    weights, xs, ys = draw(rng, np.float32)
    relaxation = relaxations.penalty_method(
        optax.sgd(0.0), optax.constant_schedule(1.0), GAUSS_NEWTON
    )
    state = relaxation.init(weights)
    network = NETWORKS["tanh"]
    _, _, info = jax.jit(partial(relaxation.step, network))(weights, state, xs, ys)
    problem, start = problem_of(network, weights, xs, ys, 1.0)
    hs = np.asarray(jax.jit(partial(GAUSS_NEWTON, problem))(start))
    xs, w, v, b, c, offset = (np.asarray(leaf) for leaf in (xs, *weights))
    previous, norms = np.zeros((B, D)), np.zeros((T, B))
    for t in range(T):
        norms[t] = np.linalg.norm(hs[t] - np.tanh(previous @ w + xs[t] @ v + b), axis=-1)
        previous = hs[t]
    np.testing.assert_allclose(info.residual_mean, norms.mean(), rtol=1e-3)
    np.testing.assert_allclose(info.residual_max, norms.mean(axis=1).max(), rtol=1e-3)
    np.testing.assert_allclose(info.relaxed_outputs, hs[-1] @ c + offset, rtol=1e-3, atol=1e-3)


def test_lam_grows_unless_the_residual_fell_by_four(rng):
    problem, hs = problem_of(NETWORKS["tanh"], *draw(rng, np.float32), 3.0)
    hs = hs + 0.1
    size = relaxations.multiplier_step(problem, hs, jnp.inf)[1]
    for before, expected in ((3.9 * size, 6.0), (4.1 * size, 3.0)):
        assert relaxations.multiplier_step(problem, hs, before, 2.0)[0].penalty == expected


def splitting_of(rng, loss=squared, curvature=1.0):
    weights, xs, ys = draw(rng)
    if loss is cross_entropy:
        ys = jnp.asarray(rng.integers(K, size=B))
    splitting = block.Splitting(loss, curvature, xs, ys, rng.uniform(0.5, 2), 0.3)
    hs, zs = (jnp.asarray(rng.normal(size=(T, B, D))) for _ in range(2))
    return splitting, block.Blocks(hs, zs, weights)


def is_minimum(rng, value, point, scale=1e-2):
    """No small random move lowers `value`."""
    lowest = value(point)
    for _ in range(50):
        moved = jax.tree.map(
            lambda leaf: leaf + scale * jnp.asarray(rng.normal(size=leaf.shape)), point
        )
        if value(moved) < lowest:
            return False
    return True


def distance(a, b):
    return sum(jnp.sum((x - y) ** 2) for x, y in zip(a, b, strict=True))


def test_the_weights_block_minimises_the_objective_with_its_proximal_term(x64, rng):
    splitting, blocks = splitting_of(rng)

    ones = np.ones((T, B, 1))
    previous = np.concatenate([np.zeros((1, B, D)), blocks.hs[:-1]])
    cell = np.concatenate([previous, splitting.xs, ones], axis=-1).reshape(T * B, -1)
    head = np.concatenate([blocks.hs[-1], ones[0]], axis=-1)
    cell, head = (np.mean(np.diag(x.T @ x)) / B for x in (cell, head))

    @jax.jit
    def value(weights):
        merit = jnp.mean(splitting.merit(blocks._replace(weights=weights)))
        near = splitting.gamma * cell * distance(weights[:3], blocks.weights[:3])
        near += head * distance(weights[3:], blocks.weights[3:])
        return merit + 0.5 * splitting.prox * near

    weights = block.update_weights(splitting, blocks)
    gradient = jax.grad(value)(weights)
    assert optax.tree.norm(gradient) < 1e-9
    assert is_minimum(rng, value, weights)


def test_the_state_blocks_minimise_the_objective_with_their_proximal_terms(x64, rng):
    """In the order of the sweep, each among the blocks as they are then."""
    splitting, old = splitting_of(rng)
    new = block.update_states(splitting, old)

    @partial(jax.jit, static_argnums=(0, 2))
    def value(t, values, name, blocks):
        sequence = getattr(blocks, name).at[t].set(values)
        near = 0.5 * splitting.prox * jnp.sum((values - getattr(old, name)[t]) ** 2)
        return jnp.sum(splitting.merit(blocks._replace(**{name: sequence}))) + near

    current = old
    for t in reversed(range(T)):
        for name in ("hs", "zs"):
            values = getattr(new, name)[t]
            assert is_minimum(rng, lambda v, t=t, n=name, c=current: value(t, v, n, c), values)
            moved = getattr(current, name).at[t].set(values)
            current = current._replace(**{name: moved})


def test_the_choice_between_two_parabolas_is_the_global_one(rng):
    splitting = block.Splitting(None, 1.0, None, None, 1.3, 0.2)
    h, predicted, z = (jnp.asarray(rng.normal(size=(1, 200)), jnp.float32) for _ in range(3))
    found = block.minimising_preactivation(splitting, h, predicted, z)

    def value(u):
        apart = (h - jax.nn.relu(u)) ** 2 + (u - predicted) ** 2
        return 1.3 * apart + 0.2 * (u - z) ** 2

    grid = jnp.broadcast_to(jnp.linspace(-5, 5, 2001)[:, None], (2001, 200))
    lowest = jnp.min(jax.vmap(lambda u: value(u[None]))(grid), axis=0)
    assert jnp.all(value(found) <= lowest + 1e-5)


@pytest.mark.parametrize("loss", [squared, cross_entropy])
def test_the_objective_never_rises_over_sweeps(x64, rng, loss):
    splitting, blocks = splitting_of(rng, loss, 1.0 if loss is squared else 0.5)
    values = [jnp.mean(splitting.merit(blocks))]
    update = jax.jit(partial(block.update_blocks, splitting))
    for _ in range(20):
        blocks = update(blocks)
        values.append(jnp.mean(splitting.merit(blocks)))
    assert np.all(np.diff(values) <= 1e-12)
    assert values[-1] < 0.7 * values[0]


@pytest.mark.slow
def test_methods_learn_a_small_regression(rng):
    """Judged by the true recursion; the targets are another network's."""
    teacher, xs, _ = draw(rng, np.float32)
    student, *_ = draw(rng, np.float32)
    functions = vanilla(jax.nn.relu)
    ys = functions.readout(teacher, relaxations.read(functions, teacher, xs)[-1])
    relu = ReLUNetwork(functions, lambda w: w, partial(jax.tree.map, jnp.add), lambda outputs: 1.0)
    adam, constant = optax.adam(0.02), optax.constant_schedule(100.0)
    for network, relaxation in (
        (functions, relaxations.penalty_method(adam, constant, GAUSS_NEWTON)),
        (functions, relaxations.augmented_lagrangian(adam, 10.0, GAUSS_NEWTON)),
        (relu, relaxations.block_coordinate_descent(1.0, prox=0.1, sweeps=2)),
    ):
        step = jax.jit(partial(relaxation.step, network))
        weights, state = student, relaxation.init(student)
        for _ in range(60):
            weights, state, _ = step(weights, state, xs, ys)
        assert bptt(functions, weights, xs, ys) < 0.5 * bptt(functions, student, xs, ys)


def temporary_bytes(function, *arguments):
    return jax.jit(function).lower(*arguments).compile().memory_analysis().temp_size_in_bytes


SGD, STATES = optax.sgd(0.1), relaxations.gauss_newton()


@pytest.mark.parametrize(
    "make",
    [
        lambda: relaxations.gauss_newton(0),
        lambda: relaxations.descent(SGD, -3),
        lambda: relaxations.augmented_lagrangian(SGD, 0.0, STATES),
        lambda: relaxations.augmented_lagrangian(SGD, 1.0, STATES, growth=0.5),
        lambda: relaxations.block_coordinate_descent(float("inf")),
    ],
)
def test_numbers_that_relax_nothing_are_refused(make):
    with pytest.raises(ValueError, match="expected"):
        make()


def test_memory_grows_with_the_length_and_beyond_that_of_rematerialised_steps(rng):
    weights, _, ys = draw(rng, np.float32)
    network, problem = bilevel(), sbo.Residual()
    relaxation = relaxations.penalty_method(
        optax.sgd(0.1), optax.constant_schedule(1.0), relaxations.descent(sbo.sgd(0.1), 2)
    )

    def relaxed(xs):
        return relaxation.step(network, weights, relaxation.init(weights), xs, ys)[0]

    def kept(xs):
        def loss(weights):
            us = xs @ weights.kernel
            theta, h0 = sbo.Dense(weights.recurrent), jnp.zeros((B, D))
            chunk = int(len(xs) ** 0.5)
            carry, _ = sbo.unroll(problem, sbo.sgd(0.1), h0, us, theta, remat_chunk=chunk)
            return jnp.mean(squared(readout(weights, carry.h), ys))

        return jax.grad(loss)(weights)

    lengths = (400, 1600)
    states = [4 * length * B * D for length in lengths]
    sizes = [temporary_bytes(relaxed, jnp.zeros((n, B, 2))) for n in lengths]
    assert 3 < sizes[1] / sizes[0] < 5
    assert sizes[1] > 2 * states[1]
    assert temporary_bytes(kept, jnp.zeros((lengths[1], B, 2))) < sizes[1] / 2
