"""Gradient flow through time: against products of dense Jacobians, and through Flax's cells."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from sbo_jax.lower.energies import Residual, Transition
from sbo_jax.lower.hyperparameters import Fixed
from sbo_jax.lower.level import EQUILIBRIUM, PAPER, STABLE
from sbo_jax.lower.operators import Dense, Diagonal
from sbo_jax.lower.solvers import nesterov, sgd
from sbo_jax.lower.step import init_carry
from sbo_jax.nn.carries import initial_carry
from sbo_jax.nn.cell import SBOCell
from sbo_jax.nn.gradient_flow import cell_gradient_flow, layer_gradient_flow
from sbo_jax.nn.layer import SBORNN
from sbo_jax.peers import ShaRNN
from sbo_jax.rollouts.equilibria import SequenceEquilibrium, StepEquilibrium
from sbo_jax.rollouts.parallel import Parallel
from sbo_jax.rollouts.unrolled import Unrolled, unroll
from sbo_jax.stability.flow import flow_ratio, gradient_flow
from sbo_jax.stability.steps import recurrence

T, B, D = 5, 3, 4


def draw(rng, solver):
    theta = Dense(jnp.asarray(rng.normal(size=(D, D)) / 3))
    h0, us = jnp.asarray(rng.normal(size=(B, D))), jnp.asarray(rng.normal(size=(T, B, D)))
    return recurrence(Residual(), solver, theta), init_carry(solver, h0), us


def loss(carry):
    return jnp.sum(jnp.sin(carry.h))


def restarted(step, carry, us):
    """dl/dcarry_t for every t, by starting the rollout anew at every t."""
    for t in range(len(us) + 1):

        def rest(carry, t=t):
            return loss(jax.lax.scan(step, carry, us[t:])[0])

        yield jax.jit(jax.grad(rest, allow_int=True))(carry)
        if t < len(us):
            carry, _ = step(carry, us[t])


def norm(leaves, axis=None):
    return np.sqrt(sum(np.sum(np.square(leaf), axis=axis) for leaf in leaves))


def test_flow_equals_the_gradients_of_restarted_rollouts(x64, rng):
    step, carry, us = draw(rng, nesterov(0.2, 0.9))
    oracle = list(restarted(step, carry, us))
    for batch_axes, axis in ((0, None), (1, -1)):
        flow = gradient_flow(step, carry, us, loss, batch_axes=batch_axes)
        expected = [norm(jax.tree.leaves(gradient), axis) for gradient in oracle]
        np.testing.assert_allclose(flow, expected, rtol=1e-10)
    flow = gradient_flow(step, carry, us, loss, select=lambda carry: carry.h)
    np.testing.assert_allclose(flow, [norm([gradient.h]) for gradient in oracle], rtol=1e-10)


def test_flow_equals_products_of_dense_jacobians(x64, rng):
    step, carry, us = draw(rng, sgd(0.3))
    carry, us = jax.tree.map(lambda leaf: leaf[0], carry), us[:, 0]
    flow = gradient_flow(step, carry, us, loss)
    hs = jax.lax.scan(step, carry, us)[1]
    gradient = np.cos(hs[-1])
    expected = [np.linalg.norm(gradient)]
    for h, u in zip([*hs[-2::-1], carry.h], us[::-1], strict=True):
        jacobian = jax.jacfwd(lambda h: step(carry._replace(h=h), u)[1])(h)  # noqa: B023
        gradient = gradient @ np.asarray(jacobian)
        expected.append(np.linalg.norm(gradient))
    np.testing.assert_allclose(flow, expected[::-1], rtol=1e-10)


def test_a_step_count_in_the_carry_is_passed_on_untouched(x64, rng):
    step, carry, us = draw(rng, optax.adam(0.05))
    us = us[:2]
    flow = gradient_flow(step, carry, us, loss, select=lambda carry: carry.h)
    oracle = [norm([gradient.h]) for gradient in restarted(step, carry, us)]
    np.testing.assert_allclose(flow, oracle, rtol=1e-10)


def test_a_vanishing_gradient_is_seen_down_to_the_smallest_float():
    """Its squares underflow from 1e-19 on; halving is exact, and so is the flow."""
    flow = gradient_flow(lambda h, x: (h / 2 + x, h), jnp.ones(4), jnp.zeros((120, 4)), jnp.sum)
    np.testing.assert_allclose(flow, 2 * 0.5 ** np.arange(120, -1, -1.0), rtol=1e-6)
    assert flow_ratio(flow) == 2.0**120


def test_a_flow_that_is_zero_all_along_vanishes():
    assert flow_ratio(jnp.zeros(3)) == np.inf
    assert np.isnan(flow_ratio(jnp.asarray([1.0, jnp.nan])))


def test_a_part_of_the_carry_without_numbers_is_refused(rng):
    step, carry, us = draw(rng, sgd(0.05))
    with pytest.raises(ValueError, match="expected a part of the carry with numbers"):
        gradient_flow(step, carry, us, loss, select=lambda carry: carry.solver_state)


def test_flow_is_traced_once_for_all_inputs(rng):
    """One backward pass: the step is traced for the scan alone, whatever T."""
    traces = []

    def step(h, x):
        traces.append(None)
        return jnp.tanh(h + x), h

    counts = []
    for length in (3, 30):
        traces.clear()
        gradient_flow(step, jnp.zeros(D), jnp.ones((length, D)), jnp.sum)
        counts.append(len(traces))
    assert counts[0] == counts[1] <= 2


@pytest.mark.parametrize("axes", [2, 3])
def test_batch_axes_that_the_carry_lacks_are_refused(rng, axes):
    with pytest.raises(ValueError, match=f"expected {axes} batch axes"):
        gradient_flow(
            lambda c, x: (c, x),
            {"h": jnp.ones((B, D)), "c": jnp.ones((B, 2))},
            jnp.ones((T, B)),
            lambda c: jnp.sum(c["h"]),
            batch_axes=axes,
        )


CELLS = {
    "simple": nnx.SimpleCell,
    "lstm": nnx.OptimizedLSTMCell,
    "sbo": SBOCell,
}


@pytest.mark.parametrize("cell", CELLS)
def test_the_flow_of_a_cell_is_the_gradient_of_nnx_rnn_in_its_first_carry(rng, cell):
    cell = CELLS[cell](4, 6, rngs=nnx.Rngs(int(rng.integers(2**31))))
    xs = jnp.asarray(rng.normal(size=(T, B, 4)), jnp.float32)
    flow = jax.jit(partial(cell_gradient_flow, cell))(xs)
    carry = cell.initialize_carry(xs.shape[1:], nnx.Rngs(0))
    graphdef, state = nnx.split(nnx.RNN(cell, time_major=True, rngs=False))

    def readout(carry):
        rnn = nnx.merge(graphdef, state, copy=True)
        return jnp.sum(rnn(xs, initial_carry=carry)[-1]) / 6**0.5

    gradient = jax.jit(jax.grad(readout))(carry)
    assert flow.shape == (T,)
    np.testing.assert_allclose(flow[0], norm(jax.tree.leaves(gradient)), rtol=1e-4)
    per_sample = jax.eval_shape(partial(cell_gradient_flow, cell, batch_axes=1), xs)
    assert per_sample.shape == (T, B)


@pytest.mark.parametrize("lower", [PAPER, STABLE], ids=["paper", "stable"])
@pytest.mark.parametrize("in_features", [1, 16])
def test_gradients_neither_vanish_nor_explode_over_a_thousand_steps(rng, lower, in_features):
    """Random inputs at initialisation: the norm over the batch varies by less than ten."""
    cell = SBOCell(in_features, 128, lower=lower, rngs=nnx.Rngs(int(rng.integers(2**31))))
    xs = jnp.asarray(rng.normal(size=(1000, 4, in_features)), jnp.float32)
    flow = jax.jit(lambda xs: cell_gradient_flow(cell, xs, select=lambda carry: carry.h))(xs)
    assert flow_ratio(flow) < 10


def test_the_gradient_of_a_vanilla_rnn_vanishes_on_the_same_inputs(rng):
    cell = nnx.SimpleCell(1, 128, rngs=nnx.Rngs(int(rng.integers(2**31))))
    xs = jnp.asarray(rng.normal(size=(1000, 4, 1)), jnp.float32)
    assert flow_ratio(jax.jit(lambda xs: cell_gradient_flow(cell, xs))(xs)) > 1e6


def test_a_rollout_from_a_carry_of_ones_own_has_its_own_flow(rng):
    cell = SBOCell(4, 6, rngs=nnx.Rngs(0))
    xs = jnp.asarray(rng.normal(size=(T, B, 4)), jnp.float32)
    first = unroll(
        cell.problem,
        cell.lower_solver(),
        jnp.zeros((B, 6)),
        cell.drive(xs[:2]),
        nnx.as_pure(cell.theta),
    )[0]
    flow = jax.jit(partial(cell_gradient_flow, cell, initial_carry=first))(xs[2:])
    whole = jax.jit(partial(cell_gradient_flow, cell))(xs)
    np.testing.assert_allclose(flow, whole[2:], rtol=1e-4)


def test_an_exploding_gradient_is_infinite_and_not_no_number():
    flow = gradient_flow(lambda c, x: (1e20 * c, c), jnp.ones(3), jnp.zeros(5), jnp.sum)
    np.testing.assert_array_equal(np.isinf(flow), [True, True, True, True, False, False])


def test_the_flow_of_a_single_step_is_refused_in_one_sentence():
    cell = SBOCell(4, 6, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="expected inputs of T >= 2 time steps, got T = 1"):
        cell_gradient_flow(cell, jnp.ones((1, B, 4)))


DIAGONAL = replace(PAPER, eta=Fixed(0.3), operator=Diagonal.init)
REMEMBERS = replace(EQUILIBRIUM, problem=Transition(jax.nn.softplus), eta=Fixed(0.3))
LAYERS = {
    "two layers": lambda rngs: SBORNN(4, 6, num_layers=2, dropout=0.5, rngs=rngs),
    "inner steps": lambda rngs: SBORNN(4, 6, rollout=Unrolled(inner_steps=3), rngs=rngs),
    "parallel": lambda rngs: SBORNN(4, 6, lower=DIAGONAL, rollout=Parallel(), rngs=rngs),
    "equilibrium of every step": lambda rngs: SBORNN(
        4, 6, lower=REMEMBERS, rollout=StepEquilibrium(num_steps=60), rngs=rngs
    ),
    "lstm": lambda rngs: nnx.RNN(nnx.OptimizedLSTMCell(4, 6, rngs=rngs), rngs=rngs),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_flow_of_a_layer_is_the_gradient_in_the_carry_of_a_step(rng, name):
    """Read in two pieces, the layer hands that carry from one to the other."""
    layer = LAYERS[name](nnx.Rngs(int(rng.integers(2**31))))
    layer.eval()
    xs = jnp.asarray(rng.normal(size=(T, B, 4)), jnp.float32)
    flow = jax.jit(partial(layer_gradient_flow, layer))(xs)
    graphdef, state = nnx.split(layer)

    def read(carry, xs):
        whole = nnx.merge(graphdef, state, copy=True)
        return whole(xs, initial_carry=carry, return_carry=True, time_major=True)

    for t in (0, int(rng.integers(1, T))):
        start = initial_carry(layer, B, 4)
        carry = read(start, xs[:t])[0] if t else start
        rest = jax.grad(lambda carry, t=t: jnp.sum(read(carry, xs[t:])[1][-1]) / 6**0.5)
        gradient = jax.jit(rest)(carry)
        if isinstance(layer, SBORNN):
            gradient = [each.h for each in gradient]
        np.testing.assert_allclose(flow[t], norm(jax.tree.leaves(gradient)), rtol=1e-3)


def test_a_layer_and_its_cell_have_one_flow_which_leaves_both_as_they_were(rng):
    layer = SBORNN(4, 6, rngs=nnx.Rngs(int(rng.integers(2**31))))
    before = jax.tree.leaves(nnx.state(layer))
    xs = jnp.asarray(rng.normal(size=(T, B, 4)), jnp.float32)
    flow = jax.jit(partial(layer_gradient_flow, layer, batch_axes=1))(xs)
    options = {"select": lambda carry: carry.h, "batch_axes": 1}
    of_cell = jax.jit(partial(cell_gradient_flow, layer.cells[0], **options))(xs)
    np.testing.assert_allclose(flow, of_cell, rtol=1e-4)
    for old, new in zip(before, jax.tree.leaves(nnx.state(layer)), strict=True):
        np.testing.assert_array_equal(old, new)


WHOLE = {
    "backwards": lambda rngs: SBORNN(4, 6, reverse=True, rngs=rngs),
    "both ways": lambda rngs: nnx.Bidirectional(
        SBORNN(4, 6, rngs=rngs), SBORNN(4, 6, rngs=rngs), rngs=rngs
    ),
    "bricks": lambda rngs: ShaRNN(nnx.SimpleCell(4, 6, rngs=rngs), nnx.SimpleCell(6, 6, rngs=rngs)),
    "equilibrium": lambda rngs: SBORNN(
        4, 6, lower=EQUILIBRIUM, rollout=SequenceEquilibrium(), rngs=rngs
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_the_flow_of_a_layer_that_needs_the_whole_sequence_is_refused(name):
    with pytest.raises(ValueError, match=r"reads one step at a time, got .* whole sequence; try"):
        layer_gradient_flow(WHOLE[name](nnx.Rngs(0)), jnp.ones((T, B, 4)))


def test_the_flow_through_a_layer_of_a_single_step_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match="expected inputs of T >= 2 time steps, got T = 1"):
        layer_gradient_flow(SBORNN(4, 6, rngs=nnx.Rngs(0)), jnp.ones((1, B, 4)))
