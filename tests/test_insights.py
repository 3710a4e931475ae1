"""A look inside a trained run shows what the model itself computes."""

import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import own_data
import pytest
from flax import nnx

import sbo_jax as sbo
from sbo_jax import plots
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.folder.description import describe
from sbo_jax.runs.preparation import prepare
from sbo_jax.trained import TrainedRun
from sbo_jax.trained.insights import time_scales

# Smooth, so that finite differences see the derivative.
SMOOTH = {"task": "folder", "hidden": 6, "activation": "tanh", "eta": 0.3, "solver": "heavy_ball"}


@pytest.fixture(scope="module")
def gestures(tmp_path_factory):
    folder = own_data.write(tmp_path_factory.mktemp("data"))
    states = np.load(folder / "unequal.npz")
    gaps = states["signals"].copy()
    gaps[::7] = np.nan
    np.savez(folder / "skipped.npz", signals=gaps, offsets=states["offsets"])
    (folder / "skipped.toml").write_text(
        'inputs = "skipped.npz:signals"\nlabels = "unequal.npz:gesture"\n'
        'offsets = "skipped.npz:offsets"\nmissing = "mask"\n'
    )
    return folder


def untrained(folder, name, **options):
    """The run that would begin, with nothing of it on disk."""
    prepared = prepare(TrainConfig.of(**SMOOTH | options, folder=str(folder / name)))
    content = describe(prepared.config, prepared.recipe, prepared.task)
    prepared.model.eval()
    return TrainedRun(prepared.model, json.loads(json.dumps(content, default=str)))


@pytest.fixture(scope="module")
def classes(gestures):
    return untrained(gestures, "unequal.toml", layers=2)


@pytest.fixture(scope="module")
def tags(gestures):
    return untrained(gestures, "states.toml")


@pytest.fixture(scope="module")
def numbers(gestures):
    return untrained(gestures, "forecast.toml")


def draw(rng, steps=23):
    return rng.normal(size=(steps, 3))


def scaled(run, sequence):
    return ((sequence - run.scaler.mean) / run.scaler.std).astype(np.float32)


def test_the_states_are_those_of_the_layer_at_every_step(rng, classes):
    sequence = draw(rng, rng.integers(1, 50))
    expected = classes.model.rnn(scaled(classes, sequence)[None])[0]
    np.testing.assert_allclose(classes.hidden_states(sequence), expected, atol=1e-5)


def test_steps_that_are_left_out_have_no_state_and_change_none(rng, gestures):
    run = untrained(gestures, "skipped.toml")
    sequence = draw(rng)
    left_out = rng.random(23) < 0.3
    left_out[rng.integers(23)] = False
    with_gaps = np.where(left_out[:, None], np.nan, sequence)
    expected = run.hidden_states(sequence[~left_out])
    for found in (run.hidden_states(with_gaps), run.saliency(with_gaps)):
        np.testing.assert_array_equal(np.isnan(found).all(1), left_out)
        assert np.isfinite(found[~left_out]).all()
    np.testing.assert_allclose(run.hidden_states(with_gaps)[~left_out], expected, atol=1e-6)


def test_steps_that_are_cut_have_no_state(rng, gestures):
    run = untrained(gestures, "short.toml")
    sequence = draw(rng, 37)  # of which the last 30 are read
    for found in (run.hidden_states(sequence), run.saliency(sequence)):
        assert np.isnan(found[:7]).all()
        assert np.isfinite(found[7:]).all()
    np.testing.assert_allclose(
        run.hidden_states(sequence)[7:], run.hidden_states(sequence[7:]), atol=1e-6
    )


def test_the_saliency_of_a_class_is_the_slope_of_its_logit(rng, classes):
    sequence = draw(rng)
    inputs = scaled(classes, sequence)
    logits = np.asarray(classes.model(inputs[None])[0])
    assert classes.predict([sequence]) == [classes.classes[logits.argmax()]]
    chosen = {None: logits.argmax()} | {name: k for k, name in enumerate(classes.classes)}
    for answer, k in chosen.items():
        check_slopes(
            classes.saliency(sequence, answer), lambda xs, k=k: classes.model(xs)[:, k], inputs
        )


def check_slopes(found, function, inputs, size=1e-3):
    """Found is |df/dx| of a function of many sequences, by differences to both sides.

    Where a unit's activation has its kink near the inputs, the slope is that of one side.
    """
    moves = size * np.eye(inputs.size, dtype=np.float32).reshape(-1, *inputs.shape)
    values = function(np.concatenate([inputs[None], inputs + moves, inputs - moves]))
    here, around = np.split(np.asarray(values, np.float64), [1])
    sides = np.abs(around - here).reshape(2, *inputs.shape) / size
    between = np.clip(found, sides.min(axis=0), sides.max(axis=0))
    np.testing.assert_allclose(found, between, atol=2e-4 + 0.01 * sides.max())


def test_the_saliency_of_a_number_is_in_its_unit_and_that_of_a_step_is_blind_to_later_ones(
    rng, numbers
):
    sequence, step, output = draw(rng), int(rng.integers(23)), int(rng.integers(3))

    def answer(xs):
        data = [x * numbers.scaler.std + numbers.scaler.mean for x in xs.astype(np.float64)]
        return np.array([each[step, output] for each in numbers.predict(data)])

    found = numbers.saliency(sequence, output, step=step)
    check_slopes(found, answer, scaled(numbers, sequence))
    assert not found[step + 1 :].any()
    np.testing.assert_array_equal(found, numbers.saliency(sequence, output, step=step - 23))


def test_eta_is_that_of_the_cells_and_a_time_scale_its_inverse_without_momentum(gestures):
    run = untrained(gestures, "unequal.toml", layers=2, solver="sgd", activation=None, eta=None)
    scales = run.time_scales()
    for cell, eta, steps in zip(run.model.rnn.cells, *scales, strict=True):
        (expected,) = cell.hyperparameters()
        np.testing.assert_allclose(eta, expected)
        np.testing.assert_allclose(steps, 1 / np.asarray(expected), rtol=1e-6)


@dataclass(frozen=True)
class Quadratic:
    """``F = 1/2 ||h - u||^2``, of curvature 1."""

    is_convex: ClassVar[bool] = True
    uses_h_prev: ClassVar[bool] = False

    def __call__(self, h, u, theta, h_prev):
        return jnp.sum((h - u) ** 2, axis=-1) / 2


@pytest.mark.parametrize("solver", [sbo.sgd, sbo.heavy_ball, sbo.nesterov])
@pytest.mark.parametrize("inner_steps", [1, 2])
def test_a_unit_follows_its_input_within_its_time_scale(solver, inner_steps):
    etas, mu = sbo.LogSpaced(0.002, 0.01), sbo.Fixed(0.6)
    lower = sbo.LowerLevel(solver, sbo.Fixed(etas), mu, sbo.Scalar.init, Quadratic())
    rollout = sbo.Unrolled(inner_steps=inner_steps)
    rnn = sbo.SBORNN(1, 4, lower=lower, rollout=rollout, rngs=nnx.Rngs(0))
    model = sbo.SequenceRegressor(rnn, 4, 1, rngs=nnx.Rngs(0))
    steps = time_scales(SimpleNamespace(model=model, config={})).steps[0]
    hs = np.asarray(rnn(np.ones((1, 600, 1)))[0])
    ends = np.asarray(rnn.cells[0].drive(np.ones(1)))
    way = hs / ends
    # the exponential has gone 1 - 1/e of its way after one time scale
    reached = (way < 1 - 1 / np.e).sum(axis=0)
    np.testing.assert_allclose(reached, steps, rtol=0.03, atol=3)


@pytest.mark.parametrize(
    ("look", "words"),
    [
        (lambda run, x: run.saliency(x, "jump"), r"an answer among \['push', 'rest', 'wave'\]"),
        (lambda run, x: run.saliency(x, step=2), "no step for a run with one answer"),
        (lambda run, x: run.saliency(x[None]), r"one sequence .*\(1, 23, 3\); try one of them"),
        (lambda run, x: run.hidden_states(x[0]), r"one sequence \[steps, features\]"),
        (lambda run, x: run.hidden_states(x[:, :2]), "expected 3 features"),
        (lambda run, x: plots.saliency(run, x[:, :2]), "expected 3 features"),
    ],
)
def test_what_a_run_cannot_show_is_one_sentence(rng, classes, look, words):
    with pytest.raises(ValueError, match=words):
        look(classes, draw(rng))


def test_a_step_beyond_the_sequence_and_a_number_beyond_the_outputs_are_refused(rng, tags, numbers):
    for step in (23, -24):
        with pytest.raises(ValueError, match="a step below 23"):
            tags.saliency(draw(rng), step=step)
    with pytest.raises(ValueError, match=r"an answer among \[0, 1, 2\], got 3"):
        numbers.saliency(draw(rng), 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "lstm", "activation": None, "eta": None, "solver": None}, "got one of lstm"),
        ({"rollout": "sequence"}, "SequenceEquilibrium, whose states do not depend on eta"),
    ],
)
def test_a_run_without_a_rate_of_time_has_no_time_scales(gestures, options, words):
    run = untrained(gestures, "unequal.toml", **options)
    with pytest.raises(ValueError, match=words):
        run.time_scales()


def test_each_look_is_one_figure(rng, classes, tags, numbers):
    for run in (classes, tags, numbers):
        for figure in (
            plots.hidden_states(run, draw(rng)),
            plots.saliency(run, draw(rng)),
            plots.time_scales(run),
        ):
            figure.draw_without_rendering()
    image = plots.hidden_states(classes, np.ones((5, 3))).axes[1].images[0]
    np.testing.assert_array_equal(image.get_array().T, classes.hidden_states(np.ones((5, 3))))
    title = plots.saliency(tags, draw(rng), "moves", step=-3).get_suptitle()
    assert "moves" in title
    assert title.endswith("at step 20")
