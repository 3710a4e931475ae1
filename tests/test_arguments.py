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
from sbo_jax.lower.step import lower_step
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


ENERGY, SGD = sbo.Residual(jnp.tanh), sbo.sgd(0.1)
THETA = sbo.Dense.init(jax.random.key(0), D)
H, US = jnp.zeros((B, D)), jnp.ones((T, B, D))
XS = np.ones((B, T, IN), np.float32)


def unroll(solver=SGD, h=H, us=US, theta=THETA):
    return sbo.unroll(ENERGY, solver, h, us, theta)[1]


LISTS = {
    "layer": (lambda xs: layer()(xs), XS),
    "head": (lambda xs: head()(xs), XS),
    "head of nnx.RNN": (lambda xs: head(nnx.RNN(nnx.GRUCell(IN, D, rngs=nnx.Rngs(0))))(xs), XS),
    "predict": (lambda xs: head().predict(xs), XS),
    "cell": (lambda x: cell()(carry(), x)[1], XS[:, 0]),
    "unroll": (lambda us: unroll(us=us), US),
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
