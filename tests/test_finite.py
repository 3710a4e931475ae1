"""A number that is not finite ends a run; no score hides it, and every file stays valid JSON."""

import json
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import sbo_jax as sbo
from sbo_jax.disk.text import JsonLines, json_text
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.folder.run_folder import RunFolder
from sbo_jax.runs.preparation import prepare
from sbo_jax.runs.run import train
from sbo_jax.runs.sweep import SweepConfig, cell_reports, prepare_sweep, sweep
from sbo_jax.runs.train_command import train_once
from sbo_jax.training.losses import Losses
from sbo_jax.training.method import UpperInfo
from sbo_jax.training.objectives import OBJECTIVES
from sbo_jax.training.optimizer import default_optimizer
from sbo_jax.training.step import bptt, init_state

SMALL = TrainConfig.of(task="adding", length=8, hidden=8, batch_size=640, epochs=1, upper_rate=1e-2)
NOT_FINITE = [np.nan, np.inf, -np.inf]


class Damaged:
    """A source with one number that is not finite, in its last sample."""

    def __init__(self, source, value):
        self._source, self._value = source, value

    def __len__(self):
        return len(self._source)

    def fetch(self, indices):
        inputs, targets = map(np.array, self._source.fetch(indices))
        inputs[indices == len(self) - 1, -1, 0] = self._value
        return inputs, targets


def with_damage(prepared, split, value=np.nan):
    damaged = {split: Damaged(getattr(prepared.task, split), value)}
    return prepared._replace(task=replace(prepared.task, **damaged))


def check_json(folder):
    """Every file of a run is JSON as its standard has it, which knows no NaN."""

    def refuse(name):
        raise AssertionError(name)

    for path in [*folder.rglob("*.json"), *folder.rglob("*.jsonl")]:
        text = path.read_text()
        for part in text.splitlines() if path.suffix == ".jsonl" else [text]:
            json.loads(part, parse_constant=refuse)


# a logit of minus infinity is the probability 0, which a loss may see and accuracy may not
@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in OBJECTIVES
        for value in NOT_FINITE
        if (name, value) != ("perplexity", -np.inf)
    ],
)
def test_no_score_hides_an_output_that_is_not_finite(name, value, rng):
    objective = OBJECTIVES[name]
    outputs = rng.normal(size=(5, 3)).astype(np.float32)
    targets = rng.normal(size=(5, 3)) if name == "mse" else rng.integers(3, size=5)
    damaged = outputs.copy()
    damaged[2, rng.integers(3)] = value
    before, after = (
        np.asarray(objective.metric(jnp.asarray(x), jnp.asarray(targets)))
        for x in (outputs, damaged)
    )
    np.testing.assert_array_equal(np.isfinite(after), np.arange(5) != 2)
    np.testing.assert_allclose(np.delete(after, 2), np.delete(before, 2))


@pytest.mark.parametrize(("training", "split"), [("bptt", "validation"), ("penalty", "test")])
def test_a_split_without_a_finite_score_ends_the_run_as_diverged(split, training, tmp_path):
    prepared = with_damage(prepare(SMALL.changed(training=training)), split)
    with RunFolder(tmp_path / "run") as folder:
        summary = train(prepared, folder)
    assert f"the {split} mse became nan at step 10; largest" in summary["stopped"]
    assert summary["test"] is None
    assert (summary["best_epoch"] is None) == (split == "validation")
    check_json(tmp_path)


def test_a_run_whose_training_losses_are_finite_and_whose_validation_is_not_exits_with_1(
    tmp_path, capsys
):
    options = {"train_fraction": 0.01, "batch_size": 64, "upper_rate": 1e30}
    assert train_once(SMALL.changed(**options, out=tmp_path / "run")) == 1
    assert "the validation mse became" in capsys.readouterr().out
    check_json(tmp_path)


@pytest.mark.parametrize("value", NOT_FINITE)
def test_a_measure_that_is_not_finite_ends_training_as_a_loss_does(value, rng):
    model = sbo.SequenceRegressor(sbo.SBORNN(2, 4, rngs=nnx.Rngs(0)), 4, 1, rngs=nnx.Rngs(0))
    graphdef, state = init_state(model, bptt(default_optimizer(1e-2, 1)))
    losses = Losses(7, (), {}, graphdef, state, lambda step, loss: None)
    for number in (1.0, value):
        losses.add(UpperInfo(jnp.asarray(1.0), {"weight_decay": jnp.asarray(number)}), state)
    with pytest.raises(FloatingPointError, match=f"the weight decay became {value} at step 9; l"):
        losses.look()


def test_cells_of_a_sweep_without_a_finite_score_diverge():
    flat = {name: SMALL.flat()[name] for name in ("task", "length", "hidden", "batch_size")}
    config = SweepConfig.of(etas=(0.1, 0.2), mus=(0.5,), seeds=(0,), epochs=1, **flat)
    prepared = prepare_sweep(config)
    prepared = prepared._replace(first=with_damage(prepared.first, "validation"))
    epochs = list(sweep(prepared))
    assert np.isfinite(epochs[0].train_loss).all()
    reports = cell_reports(prepared, epochs)
    assert [(cell["diverged_step"], cell["best"]) for cell in reports] == [(10, None)] * 2
    json.dumps(reports, allow_nan=False)


def test_ctrl_c_before_the_first_step_leaves_valid_json(tmp_path):
    class Hasty:
        def step(self, step, loss):
            raise KeyboardInterrupt

        def epoch(self, report):
            pass

    with RunFolder(tmp_path / "run") as folder:
        train(prepare(SMALL), folder, Hasty())
    check_json(tmp_path)


@pytest.mark.parametrize("head", [sbo.SequenceClassifier, sbo.SequenceRegressor])
def test_a_prediction_of_inputs_that_are_not_finite_names_sample_and_step(head, rng):
    model = head(sbo.SBORNN(2, 4, rngs=nnx.Rngs(0)), 4, 3, rngs=nnx.Rngs(0))
    inputs = rng.normal(size=(4, 5, 2)).astype(np.float32)
    sample, step, feature = (int(rng.integers(size)) for size in inputs.shape)
    damaged = inputs.astype(np.float64)
    damaged[sample, step, feature] = rng.choice([*NOT_FINITE, 1e39])
    damaged[-1, -1, -1] = damaged[sample, step, feature]
    place = f"sample {sample}, step {step}, feature {feature} "
    sentence = rf"expected finite inputs, got -?(nan|inf) in {place}"
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=sentence):
        model.predict(damaged)
    predict = nnx.jit(lambda model, inputs: model.predict(inputs))
    whole = predict(model, inputs)
    np.testing.assert_allclose(model.predict(inputs), whole, rtol=1e-5)
    assert predict(model, jnp.full((4, 5, 2), jnp.nan)).shape == whole.shape  # traced


def test_a_prediction_may_leave_out_steps_that_are_not_finite(rng):
    model = sbo.SequenceRegressor(sbo.SBORNN(2, 4, rngs=nnx.Rngs(0)), 4, 1, rngs=nnx.Rngs(0))
    inputs = rng.normal(size=(3, 5, 2)).astype(np.float32)
    cut, lengths = inputs.copy(), np.array([5, 3, 4])
    cut[1, 3:] = cut[2, 4:] = np.nan
    expected = model.predict(inputs, seq_lengths=lengths)
    np.testing.assert_array_equal(model.predict(cut, seq_lengths=lengths), expected)
    mask = np.isfinite(cut).all(axis=-1)
    np.testing.assert_array_equal(model.predict(cut, mask=mask), expected)
    with pytest.raises(ValueError, match="sample 2, step 4"):
        model.predict(cut, seq_lengths=np.array([5, 3, 5]))


def test_a_file_has_null_where_a_number_is_not_finite(tmp_path):
    content = {"a": NOT_FINITE, "b": {"c": (1.5, np.float64("nan"))}, "d": "NaN", 1: None}
    expected = {"a": [None] * 3, "b": {"c": [1.5, None]}, "d": "NaN", "1": None}
    with JsonLines(tmp_path / "lines.jsonl") as file:
        file.write([content])
    with RunFolder(tmp_path / "run") as folder:
        folder.write_json("one.json", content)
        folder.append_line("lines.jsonl", content)
    check_json(tmp_path)
    assert json.loads(json_text(content)) == expected
