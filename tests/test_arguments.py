"""Arguments of another kind: lists are taken, everything else is refused in the project's words."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
from flax import nnx

import sbo_jax as sbo
from sbo_jax import peers
from sbo_jax.lower.step import init_carry, lower_step
from sbo_jax.nn import cell_gradient_flow
from sbo_jax.rollouts.fused import unroll_fused
from sbo_jax.rollouts.parallel import unroll_parallel

IN, D, B, T = 3, 5, 2, 4


@pytest.fixture(autouse=True)
def as_users_run_it(monkeypatch):
    """Without the checks of types that the suite installs."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def layer(**options):
    return sbo.SBORNN(IN, D, **{"rngs": nnx.Rngs(0)} | options)


def cell(**options):
    return sbo.SBOCell(IN, D, **{"rngs": nnx.Rngs(0)} | options)


def head(rnn=None, **options):
    options = {"hidden_features": D, "out_features": 2, "rngs": nnx.Rngs(1)} | options
    return sbo.SequenceClassifier(layer() if rnn is None else rnn, **options)


def language_model():
    return sbo.SequenceLanguageModel(sbo.SBORNN(D, D, rngs=nnx.Rngs(0)), D, 7, rngs=nnx.Rngs(1))


def carry(**options):
    return cell(**options).initialize_carry((B, IN))


def with_solver(solver):
    return replace(sbo.STABLE, solver=solver, mu=sbo.Fixed(0.5))


def changed(carry, dtype):
    return jax.tree.map(lambda leaf: leaf.astype(dtype), carry)


ENERGY, SGD = sbo.Residual(jnp.tanh), sbo.sgd(0.1)
THETA = sbo.Dense.init(jax.random.key(0), D)
H, US = jnp.zeros((B, D)), jnp.ones((T, B, D))
XS = np.ones((B, T, IN), np.float32)


def unroll(solver=SGD, h=H, us=US, theta=THETA):
    return sbo.unroll(ENERGY, solver, h, us, theta)[1]


def step(energy=ENERGY, u=US[0], theta=THETA):
    return lower_step(energy, SGD, init_carry(SGD, H), u, theta).h


LISTS = {
    "layer": (lambda xs: layer()(xs), XS),
    "head": (lambda xs: head()(xs), XS),
    "head of nnx.RNN": (lambda xs: head(nnx.RNN(nnx.GRUCell(IN, D, rngs=nnx.Rngs(0))))(xs), XS),
    "predict": (lambda xs: head().predict(xs), XS),
    "cell": (lambda x: cell()(carry(), x)[1], XS[:, 0]),
    "unroll": (lambda us: unroll(us=us), US),
    "lower_step": (lambda u: step(u=u), US[0]),
    "unroll from": (lambda h: unroll(h=h), H),
    "solve_implicit": (
        lambda h: sbo.solve_implicit(ENERGY, SGD, h, US[0], THETA, num_steps=2)[0],
        H,
    ),
    "language model": (lambda xs: language_model()(xs), np.arange(6).reshape(2, 3)),
    "mask": (lambda mask: layer()(XS, mask=mask), np.arange(8).reshape(B, T) % 3 > 0),
    "seq_lengths": (lambda lengths: head()(XS, seq_lengths=lengths), np.array([1, 3])),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_taken_as_its_array(name):
    function, array = LISTS[name]
    np.testing.assert_array_equal(function(array.tolist()), function(array))


NOT_NUMBERS = [None, "abc", [[1], [1, 2]], object(), np.array(["a"]), np.array([None]), 1j * XS]
READERS = {
    "layer": lambda xs: layer()(xs),
    "head": lambda xs: head()(xs),
    "predict": lambda xs: head().predict(xs),
    "cell": lambda xs: cell()(carry(), xs),
    "unroll": lambda us: unroll(us=us),
    "unroll from": lambda h: unroll(h=h),
    "unroll_parallel": lambda us: unroll_parallel(ENERGY, SGD, H, us, sbo.Diagonal.init(None, D)),
    "unroll_fused": lambda us: unroll_fused(ENERGY, SGD, H, us, THETA),
    "solve_implicit": lambda h: sbo.solve_implicit(ENERGY, SGD, h, US[0], THETA, num_steps=2),
    "language model": lambda xs: language_model()(xs),
    "eta": lambda eta: layer(lower=replace(sbo.STABLE, eta=sbo.Fixed(eta))),
}


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_array_of_real_numbers_is_refused(name, value):
    with pytest.raises(ValueError, match=r"expected (real|\w+.* as an array)"):
        READERS[name](value)


REFUSED = {
    "one axis": (lambda: layer()(XS[0, 0]), r"inputs \[\*batch, time, features\]"),
    "other features": (lambda: layer()(np.ones((B, T, 9))), "3 features"),
    "a carry of another solver": (
        lambda: layer()(XS, initial_carry=(carry(lower=with_solver(sbo.sgd)),)),
        "carry of this solver",
    ),
    "a cell's carry of another solver": (
        lambda: cell()(carry(lower=with_solver(sbo.sgd)), XS[:, 0]),
        "carry of this solver",
    ),
    "unroll's carry of another solver": (lambda: unroll(h=carry()), "carry of this solver"),
    "an array as carries": (lambda: layer()(XS, initial_carry=H), "one carry for each"),
    "arrays as carries": (lambda: layer()(XS, initial_carry=(H,)), "one carry for each"),
    "None as a carry": (lambda: layer()(XS, initial_carry=[None]), "one carry for each"),
    "too many carries": (lambda: layer()(XS, initial_carry=(carry(),) * 2), "one carry for each"),
    "a carry of another solver, of which only h is used": (
        lambda: layer(rollout=sbo.SequenceEquilibrium())(
            XS, initial_carry=(carry(lower=with_solver(sbo.sgd)),)
        ),
        "carry of this solver",
    ),
    "a carry of whole numbers": (
        lambda: layer()(XS, initial_carry=(changed(carry(), jnp.int32),)),
        "floating-point",
    ),
    "a complex carry": (
        lambda: cell()(changed(carry(), jnp.complex64), XS[:, 0]),
        "expected real h0",
    ),
    "a carry in another precision": (
        lambda: layer()(XS, initial_carry=(changed(carry(), jnp.bfloat16),)),
        r"h of shape \(2, 5\) in float32",
    ),
    "a carry of another batch": (
        lambda: layer()(XS[:1], initial_carry=(carry(),)),
        r"h of shape \(1, 5\)",
    ),
    "one carry, in no tuple": (lambda: layer()(XS, initial_carry=carry()), "got 2 in a LowerCarry"),
    "a step with a solver's function": (
        lambda: lower_step(ENERGY, sbo.sgd, sbo.LowerCarry(H, ()), US[0], THETA),
        "optax transformation",
    ),
    "a step without an energy": (lambda: step(energy=None), "parameters that fit"),
    "a step with complex drives": (lambda: step(u=1j * US[0]), "floating-point numbers"),
    "a step with other parameters": (lambda: step(theta={}), "parameters that fit"),
    "complex parameters": (
        lambda: unroll(theta=sbo.Dense(1j * jnp.eye(D))),
        "energy of floating-point numbers",
    ),
    "a solver of other arguments": (
        lambda: layer(lower=with_solver(lambda rate, decay, warmup: SGD)),
        "a function of eta, or of eta and mu",
    ),
    "a solver of no arguments": (
        lambda: layer(lower=with_solver(lambda: SGD)),
        "a function of eta, or of eta and mu",
    ),
    "a seed for dropout": (
        lambda: layer(num_layers=2, dropout=0.5)(XS, rngs=0),
        r"nnx\.Rngs\(0\)",
    ),
    "other streams for dropout": (
        lambda: layer(num_layers=2, dropout=0.5)(XS, rngs=nnx.Rngs(params=0)),
        "a stream dropout",
    ),
    "lengths in rows of unequal length": (
        lambda: layer()(XS, seq_lengths=[[1], [1, 2]]),
        "expected seq_lengths as an array",
    ),
    "a module that reads no sequences": (
        lambda: head(rnn=nnx.Linear(IN, D, rngs=nnx.Rngs(0))),
        "layer called like nnx.RNN",
    ),
    "a language model of another width": (
        lambda: sbo.SequenceLanguageModel(
            sbo.SBORNN(D, D + 1, rngs=nnx.Rngs(0)), D, 7, rngs=nnx.Rngs(1)
        )([[1, 2]]),
        "5 hidden features",
    ),
    "counts of other tokens": (lambda: language_model().start_from([1] * 6), "counts of 7 tokens"),
    "a flow through no cell": (lambda: cell_gradient_flow(layer(), US), "expected a cell"),
    "a flow of no inputs": (lambda: cell_gradient_flow(cell(), None), "inputs as an array"),
    "a peer's seed": (lambda: peers.TorchGRUCell(IN, D, rngs=0), r"nnx\.Rngs\(0\)"),
    "a peer's units as text": (
        lambda: peers.LEMCell(IN, "5", rngs=nnx.Rngs(0)),
        "hidden_features as a whole number",
    ),
    "a peer's constant as text": (
        lambda: peers.LEMCell(IN, D, dt="a", rngs=nnx.Rngs(0)),
        "expected dt > 0",
    ),
    "numbers as the cells of ShaRNN": (lambda: peers.ShaRNN(IN, D), "expected cells of nnx.RNN"),
    "an array for a step": (lambda: lower_step(ENERGY, SGD, H, US[0], THETA), "a LowerCarry"),
    "whole numbers as h0": (lambda: unroll(h=jnp.zeros((B, D), int)), "floating-point"),
    "lower by name": (lambda: layer(lower="stable"), "LowerLevel like STABLE"),
    "rollout by name": (lambda: layer(rollout="unrolled"), r"rollout like Unrolled\(\)"),
    "a seed as rngs": (lambda: layer(rngs=0), r"nnx\.Rngs\(0\)"),
    "no rngs": (lambda: cell(rngs=None), r"nnx\.Rngs\(0\)"),
    "a head's seed": (lambda: head(rngs=0), r"nnx\.Rngs\(0\)"),
    "no stream for dropout": (
        lambda: layer(num_layers=2, dropout=0.5, rngs=nnx.Rngs(params=0)),
        "a stream dropout",
    ),
    "dropout as text": (lambda: layer(dropout="a"), "0 <= dropout < 1"),
    "units as text": (lambda: sbo.SBORNN(IN, "5", rngs=nnx.Rngs(0)), "hidden_features .* '5'"),
    "another width": (lambda: head(hidden_features=9)(XS), "9 hidden features"),
    "no classes": (lambda: head(out_features=0), "out_features as a whole number"),
    "negative width": (lambda: head(hidden_features=-1), "hidden_features as a whole number"),
    "a number as layer": (lambda: head(rnn=3), "layer called like nnx.RNN"),
    "damping as text": (lambda: sbo.StepEquilibrium(damping="a"), "finite damping"),
    "fractions of tokens": (lambda: language_model()(np.ones((2, 2))), "whole numbers"),
    "tokens past the end": (lambda: language_model()([[0, 7]]), "from 0 to 6"),
    "negative tokens": (lambda: language_model().predict([[0, -1]]), "from 0 to 6"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_argument_of_another_kind_is_refused_in_words(name):
    call, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        call()


PEERS = {
    name: cell
    for name, cell in vars(peers).items()
    if isinstance(cell, type) and issubclass(cell, nnx.RNNCellBase)
}


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_takes_lists_and_refuses_other_inputs_and_carries(name):
    cell = PEERS[name](IN, D, rngs=nnx.Rngs(0))
    start, x = cell.initialize_carry((B, IN)), XS[:, 0]
    np.testing.assert_array_equal(cell(start, x.tolist())[1], cell(start, x)[1])
    for value in (None, "abc", 1j * x):
        with pytest.raises(ValueError, match=r"expected (real inputs|inputs as an array)"):
            cell(start, value)
    with pytest.raises(ValueError, match="3 features"):
        cell(start, x[:, :2])
    for other in (None, 0, carry(), (start,), changed(start, jnp.complex64), H[:1]):
        with pytest.raises(ValueError, match="expected a carry of floating-point numbers"):
            cell(other, x)


SOLVERS = {
    "polyak": optax.polyak_sgd(),
    "lbfgs": optax.lbfgs(),
    "line search": optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(5)),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_that_needs_more_than_the_gradient_says_so(name):
    with pytest.raises(ValueError, match="the gradient alone"):
        unroll(SOLVERS[name])
    with pytest.raises(ValueError, match="the gradient alone"):
        layer(lower=with_solver(lambda eta, mu: SOLVERS[name]))(XS)


def test_lookahead_which_keeps_two_sets_of_parameters_is_refused(caplog):
    with pytest.raises(ValueError, match="expected a solver"):
        unroll(optax.lookahead(optax.sgd(0.1), 5, 0.5))


# Whole numbers beyond 32 bits, samples that would meet, and words for flags.

BEYOND = 1_700_000_000_123


@pytest.mark.parametrize("kind", [np.int64, np.uint64, list])
def test_a_whole_number_beyond_32_bits_is_not_wrapped(kind):
    whole = np.full((1, 3, IN), BEYOND)
    given = whole.tolist() if kind is list else whole.astype(kind)
    real = whole.astype(np.float64)
    rnn, head = layer(), sbo.SequenceRegressor(layer(), D, 1, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(rnn(given), rnn(real))
    np.testing.assert_array_equal(head.predict(given), head.predict(real))


def test_a_drive_beyond_32_bits_is_not_wrapped():
    theta, solver = sbo.Scalar.init(jax.random.key(0), D), sbo.sgd(0.1)
    drives = np.full((1, 2, D), BEYOND)
    carry = init_carry(solver, jnp.zeros((2, D)))
    for us in (drives, drives.tolist()):
        ours = sbo.unroll(sbo.Residual(), solver, jnp.zeros((2, D)), us, theta)[1][0]
        step = lower_step(sbo.Residual(), solver, carry, us[0], theta).h
        np.testing.assert_allclose(ours, np.full((2, D), 0.1 * BEYOND), rtol=1e-6)
        np.testing.assert_allclose(step, np.full((2, D), 0.1 * BEYOND), rtol=1e-6)


@pytest.mark.parametrize(("h", "u"), [((1, D), (2, D)), ((D,), (5, D)), ((2, D), (3, 2, D))])
def test_a_step_refuses_drives_of_more_samples_than_it_has_states(h, u):
    theta, solver = sbo.Scalar.init(jax.random.key(0), D), sbo.sgd(0.1)
    refused = pytest.raises(ValueError, match="expected an energy of shape")
    with refused, jax.numpy_rank_promotion("allow"):  # as users have it
        lower_step(sbo.Residual(), solver, init_carry(solver, jnp.zeros(h)), jnp.ones(u), theta)


@pytest.mark.parametrize(("shape", "eta"), [((4, 3), (4, 1)), ((4, 1), (7,)), ((4, 3), (4, 3))])
def test_a_step_refuses_an_eta_of_every_sample(shape, eta):
    theta, solver = sbo.Scalar.init(jax.random.key(0), D), sbo.sgd(jnp.full(eta, 0.1))
    carry = init_carry(solver, jnp.zeros(shape))
    refused = pytest.raises(ValueError, match="one for every hidden unit, the same for all samples")
    with refused, jax.numpy_rank_promotion("allow"):  # as users have it
        lower_step(sbo.Residual(), solver, carry, jnp.ones(shape), theta)


@pytest.mark.parametrize("steps", [0, -3, 1.5])
def test_a_step_counts_its_inner_steps(steps):
    theta, solver = sbo.Scalar.init(jax.random.key(0), D), sbo.sgd(0.1)
    carry = init_carry(solver, jnp.zeros(D))
    with pytest.raises(ValueError, match="inner_steps as a whole number >= 1"):
        lower_step(sbo.Residual(), solver, carry, jnp.ones(D), theta, inner_steps=steps)


@pytest.mark.parametrize("name", ["time_major", "reverse", "keep_order"])
def test_a_flag_is_true_or_false(name):
    with pytest.raises(ValueError, match=f"expected {name} as True or False, got 'no'"):
        layer()(XS, **{name: "no"})
    with pytest.raises(ValueError, match="expected interpret as True or False"):
        sbo.Fused(interpret="no")


@pytest.mark.parametrize("alpha", [np.nan, np.inf])
def test_an_energy_has_a_finite_alpha(alpha):
    with pytest.raises(ValueError, match="expected a finite alpha"):
        sbo.Residual(alpha=alpha)


def test_a_streamed_reading_of_no_samples_is_one():
    rnn = layer(lower=sbo.EQUILIBRIUM, rollout=sbo.Streamed(chunk=4))
    assert rnn(np.zeros((0, 9, IN))).shape == (0, 9, D)


@pytest.mark.parametrize("pair", [False, True])
def test_a_head_refuses_a_mask_that_its_layer_does_not_take(pair):
    gru = lambda: nnx.RNN(nnx.GRUCell(IN, D, rngs=nnx.Rngs(0)))  # noqa: E731
    rnn, width = (nnx.Bidirectional(gru(), gru()), 2 * D) if pair else (gru(), D)
    head = sbo.SequenceClassifier(rnn, width, 2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"takes a mask, as SBORNN does.*try seq_lengths"):
        head(np.ones((2, 3, IN)), mask=np.ones((2, 3), bool))


def test_a_prediction_that_is_not_finite_is_refused():
    head = sbo.SequenceClassifier(layer(), D, 2, rngs=nnx.Rngs(0))
    head.bias[...] = head.bias[...] * jnp.nan
    with pytest.raises(ValueError, match="expected finite outputs, got others for sample 0"):
        head.predict(np.zeros((2, 3, IN)))
