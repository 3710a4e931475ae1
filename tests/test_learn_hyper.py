"""Laws of learned hyper-parameters: the step's hypergradient by hand, augmentations, whole runs."""

import json
from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree

import sbo_jax as sbo
from sbo_jax import tasks
from sbo_jax.linear_solvers import Neumann
from sbo_jax.runs.config import TrainConfig, check
from sbo_jax.runs.folder.run_folder import RunFolder
from sbo_jax.runs.preparation import prepare
from sbo_jax.runs.run import train
from sbo_jax.tasks._types import Batch
from sbo_jax.tasks.sources.arrays import ArraySource
from sbo_jax.tasks.sources.paired import PairedSource, paired
from sbo_jax.tasks.sources.scaling import Scaler
from sbo_jax.training import augment
from sbo_jax.training.learn_hyper import learning_hyperparameters
from sbo_jax.training.objectives import MSE
from sbo_jax.training.step import init_state

T, IN, D, B = 5, 2, 4, 6
LOWER = sbo.LowerLevel(
    solver=sbo.heavy_ball,
    eta=sbo.Positive(0.3),
    mu=sbo.Bounded(0.4),
    operator=sbo.Dense.init,
    problem=sbo.Residual(jnp.tanh),
)


def regressor(seed, lower=LOWER):
    rngs = nnx.Rngs(seed)
    rnn = sbo.SBORNN(IN, D, lower=lower, param_dtype=jnp.float64, rngs=rngs)
    head = sbo.SequenceRegressor(rnn, D, 1, rngs=rngs)
    for name in ("kernel", "bias"):
        setattr(head, name, nnx.Param(jnp.asarray(getattr(head, name)[...], jnp.float64)))
    return head


def pair(rng, size=B):
    inputs = tuple(jnp.asarray(rng.normal(size=(size, T, IN))) for _ in range(2))
    targets = tuple(jnp.asarray(rng.normal(size=(size, 1))) for _ in range(2))
    return Batch(inputs, targets, np.ones(size))


def raw(params):
    """(eta, mu) as they are trained."""
    cell = params["rnn"]["cells"][0]
    return cell["eta"][...], cell["mu"][...]


def test_a_float32_model_learns_where_64_bits_are_enabled(x64, rng):
    rngs = nnx.Rngs(0)
    rnn = sbo.SBORNN(IN, D, lower=LOWER, param_dtype=jnp.float32, rngs=rngs)
    learning = learning_hyperparameters(("eta",), optax.sgd(0.1), optax.sgd(1.0), window=2)
    graphdef, state = init_state(sbo.SequenceRegressor(rnn, D, 1, rngs=rngs), learning)
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), pair(rng))
    after, info = learning.step(MSE, graphdef, state, batch)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    assert info.loss.dtype == jnp.float32


@pytest.mark.parametrize("window", [1, 3])
def test_a_step_descends_the_validation_loss_after_its_window(x64, rng, window):
    """Against finite differences of a loop written by hand, for eta, mu and weight decay."""
    network, rate = regressor(int(rng.integers(100))), 0.2
    names = ("eta", "mu", "weight_decay")
    learning = learning_hyperparameters(names, optax.sgd(rate), optax.sgd(1.0), window=window)
    graphdef, state = init_state(network, learning)
    batch = pair(rng)

    def outcome(change):
        """The validation loss where the three hyper-parameters differ by `change`."""
        params, decay = state.params, jnp.exp(jnp.log(1e-4) + change[2])

        def loss(params, which, rows):
            model = nnx.merge(graphdef, params, state.rest, copy=True)
            cell = model.rnn.cells[0]
            cell.eta[...], cell.mu[...] = (x + c for x, c in zip(start, change[:2], strict=True))
            errors = model(batch.inputs[which][rows]) - batch.targets[which][rows]
            own = [leaf for leaf in jax.tree.leaves(params) if leaf.shape != ()]
            return jnp.mean(errors**2) + decay / 2 * sum(jnp.sum(x**2) for x in own) * (which == 0)

        start = raw(state.params)
        for rows in np.split(np.arange(B), window):
            gradient = jax.grad(loss)(params, 0, rows)
            params = jax.tree.map(lambda p, g: p - rate * g, params, gradient)
        return loss(params, 1, np.arange(B))

    step = jax.jit(partial(learning.step, MSE, graphdef))
    after, info = step(state, batch)
    moved = [new - old for new, old in zip(raw(after.params), raw(state.params), strict=True)]
    decays = (s.method_state.log_magnitudes["weight_decay"] for s in (after, state))
    moved.append(next(decays) - next(decays))
    ended = jax.jit(outcome)
    for position, change in enumerate(moved):
        up, down = (ended(jnp.eye(3)[position] * sign * 1e-5) for sign in (1, -1))
        np.testing.assert_allclose(change, -(up - down) / 2e-5, rtol=1e-5, atol=1e-10)
    np.testing.assert_allclose(info.measures["eta"], np.exp(raw(after.params)[0]))
    np.testing.assert_allclose(info.measures["mu"], jax.nn.sigmoid(raw(after.params)[1]))


def test_the_training_loss_moves_all_but_what_is_learned(x64, rng):
    learning = learning_hyperparameters(("eta",), optax.sgd(0.2), optax.set_to_zero())
    graphdef, state = init_state(regressor(0), learning)
    after, _ = jax.jit(partial(learning.step, MSE, graphdef))(state, pair(rng))
    (eta, mu), (new_eta, new_mu) = raw(state.params), raw(after.params)
    assert new_eta == eta
    assert new_mu != mu  # not asked for: trained as always


class Scaled(sbo.SequenceRegressor):
    """A user's head with parameters of the lower level's names."""

    def __init__(self, rnn):
        super().__init__(rnn, D, 1, rngs=nnx.Rngs(0))
        self.mu = nnx.Param(jnp.ones(1))
        self.eta = nnx.Param(jnp.ones(1))

    def __call__(self, *args, **kwargs):
        return super().__call__(*args, **kwargs) * (self.mu[...] + self.eta[...])[None]


@pytest.mark.parametrize("names", [("eta",), ("mu",), ("eta", "mu")])
def test_a_parameter_is_no_hyperparameter_for_its_name(rng, names):
    learning = learning_hyperparameters(names, optax.sgd(0.2), optax.set_to_zero())
    rnn = sbo.SBORNN(IN, D, lower=LOWER, rngs=nnx.Rngs(0))
    graphdef, state = init_state(Scaled(rnn), learning)
    batch = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), pair(rng))
    after, _ = jax.jit(partial(learning.step, MSE, graphdef))(state, batch)
    for name in ("eta", "mu"):
        assert after.params[name][...] != state.params[name][...]
        own, new = (s.params["rnn"]["cells"][0][name][...] for s in (state, after))
        assert (new == own) == (name in names)


def test_implicit_hypergradients_are_those_of_a_dense_hessian(x64, rng):
    """Neumann's series as matrix powers, at parameters that need be no minimum."""
    network, rate, terms = regressor(int(rng.integers(100))), 0.05, 10
    solver = Neumann(rate, terms)
    learning = learning_hyperparameters(
        ("eta", "weight_decay"), optax.sgd(0.1), optax.sgd(1.0), linear_solver=solver
    )
    graphdef, state = init_state(network, learning)
    batch = pair(rng)
    weights, unflatten = ravel_pytree(state.params)

    def total(weights, hyper, which):
        """The loss of one half of the batch; eta comes from `hyper`, not from the weights."""
        model = nnx.merge(graphdef, unflatten(weights), state.rest, copy=True)
        own = model.rnn.cells[0].eta[...]
        model.rnn.cells[0].eta[...] = hyper[0]
        errors = model(batch.inputs[which]) - batch.targets[which]
        squares = jnp.sum(weights**2) - own**2
        return jnp.mean(errors**2) + (0.5 * jnp.exp(hyper[1]) * squares if which == 0 else 0.0)

    hyper = jnp.stack([raw(state.params)[0], jnp.log(1e-4)])
    slope = jax.jit(jax.grad(partial(total, which=0)))
    pull, direct = jax.jit(jax.grad(partial(total, which=1), (0, 1)))(weights, hyper)
    hessian = np.asarray(jax.jit(jax.jacfwd(slope))(weights, hyper))
    power = np.eye(len(weights)) - rate * hessian
    inverse = rate * sum(np.linalg.matrix_power(power, k) for k in range(terms))
    ups, downs = (
        np.stack([slope(weights, hyper + sign * 1e-5 * axis) for axis in np.eye(2)])
        for sign in (1, -1)
    )
    wanted = direct - (ups - downs) / 2e-5 @ inverse @ pull
    after, _ = jax.jit(partial(learning.step, MSE, graphdef))(state, batch)
    found = (
        hyper[0] - raw(after.params)[0],
        hyper[1] - after.method_state.log_magnitudes["weight_decay"],
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("names", [("eta",), ("mu",)])
def test_a_learned_eta_stays_below_the_bound(x64, rng, names):
    """Where L is known, however far one step would go; what is not learned is left alone."""
    network = regressor(0, replace(LOWER, problem=sbo.Residual(), eta=sbo.Positive(5.0)))
    learning = learning_hyperparameters(names, optax.set_to_zero(), optax.set_to_zero())
    graphdef, state = init_state(network, learning)
    after, _ = jax.jit(partial(learning.step, MSE, graphdef))(state, pair(rng))
    cell = nnx.merge(graphdef, after.params, after.rest).rnn.cells[0]
    eta = float(cell.hyperparameters()[0])
    if "eta" in names:
        np.testing.assert_allclose(eta * cell.smoothness(), 1)
    else:
        assert eta * cell.smoothness() > 1


@pytest.mark.parametrize("name", augment.AUGMENTATIONS)
def test_augmentations_are_nothing_at_0_and_differentiable_elsewhere(x64, rng, name):
    apply, key = augment.AUGMENTATIONS[name], jax.random.key(int(rng.integers(1000)))
    images = jnp.asarray(rng.normal(size=(3, 64, 2)))
    np.testing.assert_allclose(apply(images, jnp.asarray(0.0), key), images, atol=1e-12)
    at = jnp.asarray(rng.uniform(0.1, 0.2))

    def total(magnitude):
        return jnp.sum(apply(images, magnitude, key) ** 2)

    # interpolation has kinks: so small a difference meets none, but once in a thousand draws
    up, down = total(at + 1e-7), total(at - 1e-7)
    np.testing.assert_allclose(jax.grad(total)(at), (up - down) / 2e-7, rtol=1e-3, atol=1e-3)
    assert float(jnp.max(jnp.abs(apply(images, at, key) - images))) > 1e-3


def test_images_that_are_no_squares_are_refused():
    with pytest.raises(ValueError, match="expected square images row by row, got 8 time steps"):
        augment.affine(jnp.ones((3, 8, 2)), jnp.asarray(0.1), jax.random.key(0))


def test_a_shift_of_whole_steps_moves_a_sample(x64, monkeypatch):
    monkeypatch.setattr(augment, "_per_sample", lambda key, inputs: jnp.ones((1, 1, 1)))
    ramp = jnp.arange(6.0)[None, :, None]
    shifted = augment.shift(ramp, jnp.asarray(2.0), jax.random.key(0))
    np.testing.assert_allclose(shifted[0, :, 0], [0, 0, 0, 1, 2, 3])


def counting(size):
    """A source whose sample i is the number i."""
    numbers = np.arange(size, dtype=np.float32)
    return ArraySource(numbers[:, None, None], numbers[:, None], Scaler(np.zeros(1), np.ones(1)))


def test_pairs_show_the_whole_of_validation_evenly(rng):
    few, many = sorted(int(size) for size in rng.choice(np.arange(5, 200), 2, replace=False))
    for n, m in ((many, few), (few, many)):
        source = PairedSource(counting(n), counting(m))
        (inputs, held_inputs), (targets, held_targets) = source.fetch(np.arange(n))
        np.testing.assert_array_equal(targets[:, 0], np.arange(n))
        for own, wanted in ((inputs, targets), (held_inputs, held_targets)):
            np.testing.assert_array_equal(own[:, 0], wanted)
        times = np.bincount(held_targets[:, 0].astype(int), minlength=m)
        assert np.ptp(times) <= 1
        gaps = np.diff(np.flatnonzero(times))
        assert np.max(gaps) <= -(-m // n)


def test_pairs_come_from_the_splits_of_a_task():
    task = tasks.load("digits")
    inputs, targets = paired(task).train.fetch(np.array([0]))
    for source, own, label in zip((task.train, task.validation), inputs, targets, strict=True):
        wanted, known = source.fetch(np.array([0]))
        np.testing.assert_array_equal(own, wanted)
        np.testing.assert_array_equal(label, known)


SMALL = TrainConfig.of(
    task="digits",
    hidden=8,
    epochs=2,
    batch_size=256,
    train_fraction=0.5,
    preset="paper",
    learn_hyper="eta,jitter",
    mesh="data=1",
)


class StopAt:
    """Ctrl-C at a step."""

    def __init__(self, step):
        self.stop = step

    def step(self, step, loss):
        if step == self.stop:
            raise KeyboardInterrupt

    def epoch(self, report):
        pass


@pytest.mark.slow
def test_a_run_logs_what_it_learned_goes_on_bit_by_bit_and_loads(tmp_path):
    prepared = prepare(SMALL)
    with RunFolder(tmp_path / "whole") as folder:
        whole = train(prepared, folder)
    with RunFolder(tmp_path / "parts") as folder:
        assert "stopped" in train(prepared, folder, StopAt(2))
    with RunFolder(tmp_path / "parts", resume=True) as folder:
        train(prepared, folder)
    logs = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    lines = [json.loads(line) for line in logs[0].splitlines()]
    assert len({line["eta"] for line in lines}) == len({line["jitter"] for line in lines}) == 2
    model = sbo.load(tmp_path / "whole").model
    test = tasks.load("digits").test
    inputs, labels = test.fetch(np.arange(len(test)))
    np.testing.assert_allclose(np.mean(model.predict(inputs) == labels), whole["test"], rtol=1e-6)
    assert model.rnn.cells[0].hyperparameters()[0] > 1e-3  # eta grew from the paper's


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learn_hyper": "eta,size"}, r"eta, mu, weight_decay, jitter.*'size'"),
        ({"learn_hyper": "eta,eta"}, "each name in learn_hyper once, got eta,eta"),
        ({"learn_hyper": ""}, "learn_hyper among eta, mu"),
        ({"learn_hyper": "mu"}, "--learn-hyper mu has no effect with --preset paper"),
        (
            {"learn_hyper": "eta", "model": "lstm", "preset": "stable"},
            "--learn-hyper eta has no effect with --model lstm",
        ),
        (
            {"learn_hyper": "eta", "rollout": "step"},
            "--learn-hyper eta has no effect with --rollout step",
        ),
        (
            {"learn_hyper": (), "hyper_rate": 0.1},
            "--hyper-rate has no effect without --learn-hyper",
        ),
        ({"hyper_rate": 0.0}, "hyper_rate > 0"),
        ({"hyper_window": 0}, "hyper_window >= 1"),
        (
            {"hyper_window": 2, "hypergradient": "implicit"},
            "--hyper-window has no effect with --hypergradient implicit",
        ),
        ({"hyper_window": 3}, "batch size that 3 steps can share, got 256"),
        ({"training": "penalty"}, "--learn-hyper has no effect with --training penalty"),
        ({"task": "adding", "learn_hyper": "affine"}, "images as those of digits and pixel_mnist"),
        ({"task": "ptb"}, "stand for themselves"),
    ],
)
def test_what_cannot_be_learned_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        prepare(SMALL.changed(**change))


def test_several_devices_are_refused(x64, rng):
    learning = learning_hyperparameters(("eta",), optax.sgd(0.2), optax.sgd(1.0))
    graphdef, state = init_state(regressor(0), learning)
    with pytest.raises(ValueError, match="--mesh data=1"):
        learning.step(MSE, graphdef, state, pair(rng), axis_name="data")


def test_names_may_have_spaces_between_them():
    config = TrainConfig.of(learn_hyper="eta, jitter")
    check(config)
    assert config.method.learn_hyper == ("eta", "jitter")


FIXED = replace(LOWER, eta=sbo.Fixed(0.3))
IMPLICIT = {"linear_solver": Neumann(0.1, 3)}


@pytest.mark.parametrize(
    ("names", "options", "lower", "message"),
    [
        (("eta",), {}, FIXED, "expected a model that learns eta, got one where it is fixed"),
        (("mu", "eta"), {}, FIXED, "learns eta"),
        (("alpha",), {}, LOWER, "expected names out of eta, mu, .*, got alpha"),
        (("eta",), {"window": 0}, LOWER, "expected window as a whole number >= 1"),
        (("eta",), {"window": 2} | IMPLICIT, LOWER, "expected window = 1 for implicit"),
    ],
)
def test_what_would_learn_nothing_is_refused(x64, names, options, lower, message):
    optimizers = optax.sgd(0.2), optax.sgd(0.1)
    with pytest.raises(ValueError, match=message):
        init_state(regressor(0, lower), learning_hyperparameters(names, *optimizers, **options))


def test_samples_of_weight_0_count_on_neither_side(x64, rng):
    learning = learning_hyperparameters(("eta",), optax.sgd(0.2), optax.sgd(1.0))
    graphdef, state = init_state(regressor(0), learning)
    batch, weights = pair(rng), np.asarray(rng.permutation([1, 1, 1, 0, 0, 0]), np.float64)
    step = jax.jit(partial(learning.step, MSE, graphdef))

    def after(values):
        """Where samples of weight 0 have these targets."""
        targets = tuple(jnp.where(weights[:, None] > 0, y, values) for y in batch.targets)
        return step(state, batch._replace(targets=targets, weights=weights))[0].params

    found, other = after(rng.normal(size=(B, 1))), after(rng.normal(size=(B, 1)))
    jax.tree.map(np.testing.assert_array_equal, found, other)


def test_sequences_of_unequal_lengths_are_refused(x64, rng):
    learning = learning_hyperparameters(("eta",), optax.sgd(0.2), optax.sgd(1.0))
    graphdef, state = init_state(regressor(0), learning)
    batch = pair(rng)._replace(lengths=np.full(B, T))
    with pytest.raises(ValueError, match="got sequences of unequal lengths"):
        learning.step(MSE, graphdef, state, batch)
