"""What is said of data before training, and of a model after it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from sklearn.utils.class_weight import compute_class_weight
from test_tasks_lengths import CLASSES, IN, D, draw_task

import sbo_jax as sbo
from sbo_jax import nn
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.preparation import prepare
from sbo_jax.runs.scores import of_each_class, of_each_number, scores
from sbo_jax.runs.sweep import SweepConfig, prepare_sweep, sweep
from sbo_jax.runs.test_split.answers import of_samples
from sbo_jax.runs.train_command import run_command_line
from sbo_jax.tasks.loader import class_counts
from sbo_jax.training import bptt, init_state
from sbo_jax.training.fit import fit
from sbo_jax.training.objectives import ACCURACY, balanced, in_unit
from sbo_jax.training.predictions import Predicted, predictions


def draw_predictions(rng, per_step):
    """A task of 13 sequences, a model, and its predictions in batches of 4."""
    task = draw_task(rng, rng.integers(1, 30, 13), per_step=per_step)
    head = nn.SequenceTagger if per_step else sbo.SequenceClassifier
    model = head(sbo.SBORNN(IN, D, rngs=nnx.Rngs(0)), D, CLASSES, rngs=nnx.Rngs(1))
    predicted = predictions(*init_state(model, bptt(optax.sgd(0.1))), task.test, 4)
    return task, model, predicted


@pytest.mark.parametrize("per_step", [False, True])
def test_predictions_are_those_of_the_sequences_one_by_one(per_step, rng):
    task, model, predicted = draw_predictions(rng, per_step)
    alone = [task.test.batch(np.array([i]), int(n)) for i, n in enumerate(task.test.inputs.lengths)]
    outputs = np.concatenate([model(each.inputs).reshape(-1, CLASSES) for each in alone])
    targets = np.concatenate([each.targets.reshape(-1) for each in alone])
    assert len(predicted.outputs) == len(targets)
    # in another order: of equal rows the sums over any function of them are equal
    order, other = (np.lexsort(x.T) for x in (predicted.outputs.round(4), outputs.round(4)))
    np.testing.assert_allclose(predicted.outputs[order], outputs[other], atol=2e-4)
    assert sorted(predicted.targets) == sorted(targets)


def test_scores_of_classes_are_those_counted_by_hand(rng):
    labels = np.array([0, 0, 0, 1, 1, 2, 3, 3])
    logits = rng.normal(size=(8, CLASSES)).astype(np.float32)
    task = draw_task(rng, [3, 4])
    ours = scores(of_samples(task, Predicted(logits, labels, np.arange(8))))
    answers = logits.argmax(1)
    recall = [np.mean(answers[labels == k] == k) for k in range(CLASSES)]
    np.testing.assert_allclose(ours["balanced_accuracy"], np.mean(recall))
    f1 = []
    for k in range(CLASSES):
        hits = np.sum((answers == k) & (labels == k))
        f1.append(2 * hits / (np.sum(answers == k) + np.sum(labels == k)))
    np.testing.assert_allclose(ours["macro_f1"], np.mean(f1))
    probabilities = np.asarray(jax.nn.softmax(jnp.asarray(logits)))
    areas = []
    for k in range(CLASSES):
        pairs = probabilities[labels == k, k][:, None] - probabilities[labels != k, k]
        areas.append(np.mean((pairs > 0) + 0.5 * (pairs == 0)))
    np.testing.assert_allclose(ours["auroc"], np.mean(areas), rtol=1e-6)


def test_an_area_is_not_told_where_a_class_is_absent(rng):
    logits = rng.normal(size=(5, CLASSES)).astype(np.float32)
    predicted = Predicted(logits, np.zeros(5, int), np.arange(5))
    assert scores(of_samples(draw_task(rng, [3]), predicted))["auroc"] is None


def test_scores_of_numbers_are_in_their_unit(rng):
    task = draw_task(rng, rng.integers(1, 9, 30), metric="mse")
    targets, errors = rng.normal(size=(2, 12, 2))
    ours = scores(of_samples(task, Predicted(targets + errors, targets, np.arange(12))))
    np.testing.assert_allclose(ours["mae"], np.mean(np.abs(errors) * task.target_std))
    shares = (errors**2).sum(0) / ((targets - targets.mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(ours["r2"], np.mean(1 - shares))
    metric = in_unit(task.target_std).metric(jnp.asarray(targets + errors), targets)
    np.testing.assert_allclose(np.mean(metric), np.mean((errors * task.target_std) ** 2), rtol=1e-5)


def test_a_class_without_samples_has_no_weight(rng):
    counts = np.append(rng.integers(1, 9, size=3), 0)
    weights = np.asarray(balanced(counts).loss.weights)
    assert weights[-1] == 0
    np.testing.assert_allclose(counts @ weights, counts.sum())
    np.testing.assert_allclose((counts * weights)[:3], counts.sum() / 3)


def test_balanced_classes_weigh_as_scikit_learn_says(rng):
    labels = np.repeat(np.arange(CLASSES), [1, 5, 2, 9])
    logits = rng.normal(size=(len(labels), CLASSES)).astype(np.float32)
    weights = compute_class_weight("balanced", classes=np.arange(CLASSES), y=labels)
    ours = balanced(np.bincount(labels)).loss(jnp.asarray(logits), labels)
    np.testing.assert_allclose(
        ours, ACCURACY.loss(jnp.asarray(logits), labels) * weights[labels], rtol=1e-6
    )


def test_classes_are_counted_over_the_steps_that_have_one(rng):
    lengths = rng.integers(1, 20, 30)
    source = draw_task(rng, lengths, per_step=True).train
    expected = np.bincount(np.concatenate(list(source.targets)), minlength=CLASSES)
    np.testing.assert_array_equal(class_counts(source, CLASSES), expected)


def write(folder, rng, metric="accuracy"):
    lines = ["file,label,group"]
    for number in range(40):
        sequence = rng.normal(size=(rng.integers(2, 9), 2))
        np.savetxt(folder / f"{number}.csv", sequence, "%.5f", delimiter=",", header="x,y")
        label = "ab"[number % 4 == 0] if metric == "accuracy" else rng.normal()
        lines.append(f"{number}.csv,{label},{number // 4}")
    (folder / "index.csv").write_text("\n".join(lines))
    (folder / "dataset.toml").write_text(
        f'index = "index.csv"\nheader_lines = 1\nmetric = "{metric}"'
    )


def test_a_check_says_what_was_understood_and_leaves_nothing_behind(tmp_path, rng, capsys):
    write(tmp_path, rng)
    before = sorted(tmp_path.iterdir())
    command = ["--task", "folder", "--folder", str(tmp_path), "--check-only"]
    assert run_command_line([*command, "--out", str(tmp_path / "run")]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    for words in ("24 for training", "8 for validation", "2 features", "a 18, b 6", "the groups"):
        assert words in line
    assert sorted(tmp_path.iterdir()) == before
    assert run_command_line([*command, "--hidden", "0"]) == 2


def test_weights_of_classes_are_refused_where_there_are_none(tmp_path, rng):
    write(tmp_path, rng, metric="mse")
    options = {"task": "folder", "folder": str(tmp_path), "hidden": 4, "class_weight": "balanced"}
    with pytest.raises(ValueError, match="no effect on data with metric = 'mse'"):
        prepare(TrainConfig.of(**options))
    with pytest.raises(ValueError, match="no effect with --task adding"):
        prepare(TrainConfig.of(task="adding", class_weight="balanced"))


@pytest.mark.parametrize("metric", ["accuracy", "mse"])
def test_a_run_ends_with_its_scores(metric, tmp_path, rng, capsys):
    write(tmp_path, rng, metric)
    weight = ["--class-weight", "balanced"] if metric == "accuracy" else []
    command = ["--task", "folder", "--folder", str(tmp_path), "--hidden", "4", "--epochs", "1"]
    assert run_command_line([*command, *weight, "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out.splitlines()
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    names = {"accuracy": ["balanced_accuracy", "macro_f1", "auroc"], "mse": ["mae", "r2"]}
    assert list(summary["scores"]) == names[metric]
    assert said[-1].startswith({"accuracy": "balanced accuracy ", "mse": "MAE "}[metric])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"training": "penalty"}, "for --training penalty, got sequences of unequal lengths"),
        ({"learn_hyper": ("eta",)}, "unequal lengths; leave --learn-hyper out"),
    ],
)
def test_methods_that_know_no_lengths_say_so(options, words, tmp_path, rng):
    write(tmp_path, rng)
    with pytest.raises(ValueError, match=words):
        prepare(TrainConfig.of(task="folder", folder=str(tmp_path), hidden=4, **options))


def test_a_cell_of_a_sweep_over_unequal_lengths_is_the_run_trained_alone(tmp_path, rng):
    write(tmp_path, rng)
    shared = {"task": "folder", "folder": str(tmp_path), "hidden": 4}
    # without a kink, on either side of which rounding can put one of the two
    shared |= {"epochs": 2, "batch_size": 4, "upper_rate": 1e-2, "activation": "identity"}
    prepared = prepare_sweep(SweepConfig.of(**shared, etas=(0.1, 0.5), mus=(0.5,), seeds=(0,)))
    swept = list(sweep(prepared))[-1]
    run = prepare(prepared.config.run(*prepared.config.cells()[1]))
    alone = fit(run.model, run.task, ACCURACY, run.method, epochs=2, batch_size=4)
    np.testing.assert_allclose(swept.validation_loss[1], list(alone)[-1].validation_loss, rtol=1e-4)


@pytest.mark.parametrize("per_step", [False, True])
def test_predictions_name_the_sample_and_the_step_that_they_are_of(per_step, rng):
    task, _, predicted = draw_predictions(rng, per_step)
    targets = list(task.test.targets)
    steps = predicted.steps if per_step else [None] * 13
    places = list(zip(predicted.samples.tolist(), steps, strict=True))
    assert len(set(places)) == len(places) == (task.test.inputs.lengths.sum() if per_step else 13)
    for (sample, step), target in zip(places, predicted.targets, strict=True):
        assert target == (targets[sample][step] if per_step else targets[sample])


def test_scores_by_class_are_those_counted_by_hand():
    targets, answers = np.array([0, 0, 0, 1, 1, 3]), np.array([0, 0, 1, 1, 0, 1])
    names = ("precision", "recall", "f1", "support")
    expected = [(2 / 3, 2 / 3, 2 / 3, 3), (1 / 3, 1 / 2, 2 / 5, 2)]
    expected += [(None, None, None, 0), (None, 0, 0, 1)]
    for row, wanted in zip(of_each_class(targets, answers, 4), expected, strict=True):
        assert row == pytest.approx(dict(zip(names, wanted, strict=True)))


def test_scores_by_output_are_means_of_its_errors(rng):
    true, answers = rng.normal(size=(2, 30, 3))
    for k, row in enumerate(of_each_number(true, answers)):
        errors = answers[:, k] - true[:, k]
        assert row["mae"] == pytest.approx(np.mean(abs(errors)))
        assert row["mse"] == pytest.approx(np.mean(errors**2))
        assert row["r2"] == pytest.approx(1 - np.mean(errors**2) / np.var(true[:, k]))
    assert of_each_number(true[:1], answers[:1])[0]["r2"] is None
