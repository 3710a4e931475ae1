"""Laws of a trained run: data go in as they are, and its answers are those of training."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

import sbo_jax
from sbo_jax.runs import RunFolder, TrainConfig, prepare, train
from sbo_jax.runs.folder.description import describe
from sbo_jax.tasks._types import DataError
from sbo_jax.tasks.loader import evaluation_order
from sbo_jax.trained import TrainedRun
from sbo_jax.trained.commands.rows import rows
from sbo_jax.trained.export.predict import Model
from sbo_jax.training.predictions import predictions

N, D = 40, 3
NAMES = np.array(["push", "rest", "wave"])
HEAD = 'inputs = "all.npz:x"\n'


def _labels(inputs):
    return NAMES[[int(abs(np.nanmean(each)) * 100) % 3 for each in inputs]]


class Trained:
    """A run of one epoch on sequences of random numbers, and what it was trained on."""

    def __init__(self, folder, sequences, labels, toml, **options):
        self.sequences, self.labels, self.folder = sequences, labels, folder
        lengths = [len(each) for each in sequences]
        per_step = "per_step" in toml
        np.savez(
            folder / "all.npz",
            x=np.concatenate(sequences) if "offsets" in toml else np.stack(sequences),
            y=np.concatenate(labels) if per_step else np.stack(labels),
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
        )
        (folder / "dataset.toml").write_text(HEAD + 'labels = "all.npz:y"\n' + toml)
        options = {"hidden": 4, "epochs": 1, "batch_size": 8, "updates": None} | options
        options = {name: value for name, value in options.items() if value is not None}
        self.config = TrainConfig.of(task="folder", folder=str(folder), **options)
        self.prepared = prepare(self.config)
        with RunFolder(folder / "run") as run:
            self.summary = train(self.prepared, run)
        self.run = sbo_jax.load(folder / "run")

    def test_samples(self):
        """The numbers of the samples held out for the test."""
        test = self.prepared.task.test
        starts = np.cumsum([0, *map(len, self.sequences)])
        return np.searchsorted(starts, test.inputs.starts, side="right") - 1


@pytest.fixture(scope="module")
def fresh():
    seed = np.random.SeedSequence().entropy % 2**32
    print(f"seed {seed}")
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def classes(tmp_path_factory, fresh):
    """Classes of sequences of unequal lengths."""
    sequences = [fresh.normal(5, 3, size=(n, D)) for n in fresh.integers(4, 12, size=N)]
    labels = NAMES[np.arange(N) % 3]
    return Trained(
        tmp_path_factory.mktemp("classes"), sequences, labels, 'offsets = "all.npz:offsets"\n'
    )


@pytest.fixture(scope="module")
def numbers(tmp_path_factory, fresh):
    """Two numbers of sequences of one length."""
    sequences = [fresh.normal(size=(6, D)).astype(np.float32) for _ in range(N)]
    targets = [100 + 10 * each.sum(0)[:2].astype(np.float64) for each in sequences]
    folder = tmp_path_factory.mktemp("numbers")
    return Trained(folder, sequences, targets, 'metric = "mse"\n')


@pytest.fixture(scope="module")
def number(tmp_path_factory, fresh):
    """One number of sequences of one length."""
    sequences = [fresh.normal(size=(6, D)) for _ in range(N)]
    targets = [each.sum() for each in sequences]
    return Trained(tmp_path_factory.mktemp("number"), sequences, targets, 'metric = "mse"\n')


@pytest.fixture(scope="module")
def steps(tmp_path_factory, fresh):
    """A class of every step, of sequences with gaps that are cut."""
    sequences = [fresh.normal(size=(n, D)) for n in fresh.integers(6, 12, size=N)]
    for each in sequences:
        each[fresh.random(each.shape) < 0.2] = np.nan
        each[3] = np.nan
        each[0] = 0.0
    labels = [np.where(np.nan_to_num(each[:, 0]) > 0, "up", "down") for each in sequences]
    toml = 'offsets = "all.npz:offsets"\nper_step = true\nmissing = "mask"\nmax_length = 8\n'
    folder = tmp_path_factory.mktemp("steps")
    return Trained(folder, sequences, labels, toml + 'keep = "start"\n')


def outputs_of_training(trained):
    """Of the test samples, in the order of the data, as the training run computed them."""
    prepared, run = trained.prepared, trained.run
    graphdef, state = prepared.init()
    params = nnx.state(run.model, nnx.Param)
    source = prepared.task.test
    found = predictions(graphdef, state._replace(params=params), source, 8).outputs
    return found[np.argsort(evaluation_order(source))] if len(found) == len(source) else found


@pytest.mark.parametrize("name", ["classes", "numbers", "number"])
def test_a_loaded_run_answers_raw_data_as_training_did(name, request):
    trained = request.getfixturevalue(name)
    rows = trained.test_samples()
    raw = [trained.sequences[row] for row in rows]
    expected = trained.run.answering.answers(outputs_of_training(trained))
    np.testing.assert_array_equal(trained.run.predict(raw), expected)
    if name != "classes":
        np.testing.assert_array_equal(trained.run.predict(np.stack(raw)), expected)


def test_the_score_of_the_test_samples_is_that_of_the_summary(classes):
    rows = classes.test_samples()
    score = classes.run.score([classes.sequences[row] for row in rows], classes.labels[rows])
    np.testing.assert_allclose(score, classes.summary["test"], rtol=1e-6)


def test_labels_may_be_a_column(classes, number):
    for trained, labels in ((classes, classes.labels), (number, np.array(number.labels))):
        score = trained.run.score(trained.sequences, labels)
        assert trained.run.score(trained.sequences, labels[:, None]) == score


def test_numbers_are_in_their_unit(numbers, number):
    found = numbers.run.predict(numbers.sequences)
    assert found.shape == (N, 2)
    assert abs(found.mean() - 100) < 30  # far from the 0 of scaled targets
    assert number.run.predict(number.sequences).shape == (N,)


def test_r2_is_the_score_of_numbers(numbers):
    found, wanted = numbers.run.predict(numbers.sequences), np.stack(numbers.labels)
    errors = ((wanted - found) ** 2).sum(0) / ((wanted - wanted.mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(
        numbers.run.score(numbers.sequences, wanted), np.mean(1 - errors), rtol=1e-9
    )


def test_steps_without_a_label_do_not_count_in_a_score(steps, fresh):
    found = np.concatenate(steps.run.predict(steps.sequences))
    has = fresh.random(len(found)) < 0.7
    ends = np.cumsum(list(map(len, steps.sequences)))[:-1]
    labels = np.split(np.where(has, np.concatenate(steps.labels), ""), ends)
    expected = np.mean((found == np.concatenate(steps.labels))[has])
    np.testing.assert_allclose(steps.run.score(steps.sequences, labels), expected)
    with pytest.raises(ValueError, match="expected a label or more, got none at all"):
        steps.run.score(steps.sequences, [np.full(len(each), "") for each in labels])


@pytest.mark.parametrize("none", [np.nan, None, ""])
def test_labels_of_steps_may_be_lists_objects_and_columns(none, steps, fresh):
    has = [fresh.random(len(each)) < 0.7 for each in steps.labels]
    labels = [
        np.where(own, each, "").astype(object) for own, each in zip(has, steps.labels, strict=True)
    ]
    expected = steps.run.score(steps.sequences, [each.astype(str) for each in labels])
    for each in labels:
        each[each == ""] = none
    for change in (lambda x: x, lambda x: x[:, None], np.ndarray.tolist):
        assert steps.run.score(steps.sequences, list(map(change, labels))) == expected


def test_labels_of_every_sequence_belong_to_its_steps(steps):
    first, second, *others = steps.labels
    moved = [first[:-1], np.append(first[-1:], second), *others]
    expected = f"expected {len(first)} labels, .* got {len(first) - 1} in sequence 0"
    with pytest.raises(DataError, match=expected):
        steps.run.score(steps.sequences, moved)


def test_an_answer_does_not_depend_on_the_sequences_beside_it(classes, numbers, steps):
    for trained in (classes, numbers, steps):
        run = trained.run
        ask = run.predict if run.classes is None else run.predict_proba
        whole = ask(trained.sequences)
        for row in range(0, N, 11):
            np.testing.assert_allclose(ask([trained.sequences[row]])[0], whole[row], rtol=1e-5)


def test_probabilities_belong_to_the_answers(classes):
    run = classes.run
    found = run.predict_proba(classes.sequences)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)
    assert [run.classes[k] for k in found.argmax(1)] == run.predict(classes.sequences).tolist()
    answers = run.answers(classes.sequences)
    assert answers.answers.tolist() == run.predict(classes.sequences).tolist()
    np.testing.assert_array_equal(answers.probabilities, found)
    assert len(answers.ids) == N


def test_a_step_that_is_not_read_has_the_answer_of_the_one_before(steps):
    for sequence, answers in zip(steps.sequences, steps.run.predict(steps.sequences), strict=True):
        assert len(answers) == len(sequence)
        assert answers[3] == answers[2]  # gaps alone
        assert (answers[9:] == answers[-1]).all()  # cut: eight steps were read, without the gap
    first = np.concatenate([np.full((2, D), np.nan), steps.sequences[0][:5]])
    found, answers = steps.run.predict_proba([first])[0], steps.run.predict([first])[0]
    assert np.isnan(found[:2]).all()
    assert answers[:2].tolist() == [None, None]
    assert [*answers[2:]] == [steps.run.classes[number] for number in found[2:].argmax(axis=1)]


@pytest.mark.parametrize("kind", ["array", "list"])
def test_an_export_refuses_masked_arrays_as_its_run_does(classes, kind, tmp_path, rng):
    classes.run.export(tmp_path / "model.zip")
    masked = np.ma.masked_array(rng.normal(size=(2, 5, D)), rng.random((2, 5, D)) < 0.5)
    data = masked if kind == "array" else [*masked]
    for run in (classes.run, Model(tmp_path / "model.zip")):
        with pytest.raises(ValueError, match="expected NaN for a gap, got a masked array"):
            run.predict(data)


@pytest.mark.parametrize("mark", [1e6, 5.0])
def test_a_description_of_new_data_says_what_marks_a_gap_there(steps, mark, tmp_path):
    """Also where a mark of training is a number like others."""
    content = json.loads((steps.folder / "run/config.json").read_text())
    content["layout"]["gaps"] = -9
    run = TrainedRun(steps.run.model, content)
    first = np.where(np.isnan(steps.sequences[0]), mark, steps.sequences[0])
    first[1] = -9
    np.savez(tmp_path / "new.npz", x=first, offsets=[0, len(first)], y=np.full(len(first), "up"))
    described = f'offsets = "new.npz:offsets"\nper_step = true\ngaps = {mark}\n'
    described = f'inputs = "new.npz:x"\nlabels = "new.npz:y"\n{described}'
    (tmp_path / "dataset.toml").write_text(described)
    expected = steps.run.predict_proba([np.where(first == mark, np.nan, first)])
    (found,) = run.answers(tmp_path).probabilities
    np.testing.assert_array_equal(found, expected[0])
    known = run.labelled_table(tmp_path)
    np.testing.assert_array_equal(run.answers_of(known).probabilities[0], expected[0])


@pytest.mark.parametrize("missing", [None, "", float("nan")])
def test_a_sequence_without_a_label_has_no_score(classes, missing):
    labels = [*classes.labels[:-1], missing]
    with pytest.raises(DataError, match=f"a label for every sequence, got .* for sequence {N - 1}"):
        classes.run.score(classes.sequences, labels)


def test_no_answer_is_that_of_a_later_step(steps, tmp_path):
    """Of what training cuts away at the start, whose answers would know what comes after them."""
    content = json.loads((steps.folder / "run/config.json").read_text())
    content["layout"]["keep"] = "end"
    run = TrainedRun(steps.run.model, content)
    sequence = np.ones((11, D))
    answers = run.answers([sequence])
    labels = ["up"] * 11
    (found,), (probabilities,) = answers.answers, answers.probabilities
    assert found[:3].tolist() == [None] * 3
    assert np.isnan(probabilities[:3]).all()
    assert set(found[3:]) <= set(run.classes)
    assert run.score([sequence], [labels]) == np.mean(found[3:] == "up")
    table = rows(run, run.table([sequence]), answers).to_pylist()
    assert [row["answer"] for row in table] == found.tolist()
    assert [row["probability"] is None for row in table] == [True] * 3 + [False] * 8
    run.export(tmp_path / "model.zip")
    exported = Model(tmp_path / "model.zip")
    assert exported.predict([sequence])[0].tolist() == found.tolist()
    np.testing.assert_allclose(exported.predict_proba([sequence])[0], probabilities, rtol=1e-5)
    with pytest.raises(ValueError, match="a step from 3 on, the first that is read, got 2"):
        run.saliency(sequence, step=2)


def test_sequences_longer_than_any_in_training_are_read(classes, numbers, rng):
    longer = [rng.normal(size=(n, D)) for n in (5, 13, 40)]
    found = classes.run.predict_proba(longer)
    np.testing.assert_allclose(found[2], classes.run.predict_proba(longer[2:])[0], rtol=1e-5)
    numbers.run.predict(longer)
    numbers.run.predict(rng.normal(size=(2, 9, D)))


def test_answers_of_every_chunk_are_in_order(classes, rng):
    """More sequences than a batch of training has, of all lengths."""
    many = [rng.normal(size=(n, D)) for n in rng.integers(1, 14, size=50)]
    together, alone = classes.run.predict_proba(many), classes.run.predict_proba(many[33:34])
    np.testing.assert_allclose(together[33], alone[0], rtol=1e-5)


def test_a_run_says_on_one_screen_what_it_is(classes, numbers, steps):
    text = repr(classes.run)
    assert len(text.splitlines()) < 12
    assert all(len(line) <= 120 for line in text.splitlines() if str(classes.folder) not in line)
    longest = max(map(len, classes.sequences))
    assert f"3 features, up to {longest} steps" in text
    assert "one of 3 classes (push, rest, wave) for every sequence" in text
    assert "2 numbers for every sequence" in repr(numbers.run)
    assert "for every step" in repr(steps.run)
    assert repr(TrainedRun(classes.run.model, classes.run.content)).startswith("TrainedRun\n")


def test_what_a_run_holds_is_plain(classes):
    run = classes.run
    assert run.classes == NAMES.tolist()
    assert run.config["hidden"] == 4
    values = np.concatenate([classes.sequences[row] for row in range(N)])
    assert abs(run.scaler.mean - values.mean(0)).max() < 1
    described = describe(classes.config, classes.prepared.recipe, classes.prepared.task)
    assert described["layout"] == run.content["layout"]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (lambda x: x[0], r"got the shape \(6, 3\); one sequence is x\[None\]"),
        (lambda x: x[..., :2], "expected 3 features, got 2"),
        (lambda x: [], "one sequence or more, got none"),
        (lambda x: [x[0], x[0][:, :1]], "as in the first, got 1 in sequence 1"),
        (lambda x: [x[0], x[0][:0]], r"got the shape \(0, 3\) for sequence 1"),
        (
            lambda x: np.where(x > 1, np.nan, x),
            "got nan in .* to read gaps, train with missing",
        ),
        (lambda x: np.where(x > 1, np.inf, x), "got inf in sample"),
        (lambda x: x.astype(complex), "real numbers, got the type complex128"),
        (lambda x: x.astype(str), "real numbers, got the type"),
        (lambda x: 3.0, "or a list of them, got float"),
        (lambda x: (y for y in x), "or a list of them, got generator"),
        (lambda x: np.ma.masked_array(x, x > 1), "NaN for a gap, got a masked array"),
        (lambda x: list(np.ma.masked_array(x, x > 1)), "NaN for a gap, got a masked array"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(numbers, raw, words):
    with pytest.raises(DataError, match=words) as error:
        numbers.run.predict(raw(np.stack(numbers.sequences)))
    assert "\n" not in str(error.value)


def test_labels_that_do_not_fit_are_refused(classes, numbers, steps):
    with pytest.raises(DataError, match="expected 40 labels, one for each answer, got 39"):
        classes.run.score(classes.sequences, classes.labels[1:])
    with pytest.raises(DataError, match=r"labels among .*, got 'fly'"):
        classes.run.score(classes.sequences, ["fly"] * N)
    with pytest.raises(DataError, match=r"labels of shape \(40,\), got \(40, 2\)"):
        classes.run.score(classes.sequences, np.stack([classes.labels] * 2, axis=1))
    with pytest.raises(DataError, match=r"labels of shape \(40, 2\), got \(40,\)"):
        numbers.run.score(numbers.sequences, np.zeros(N))
    with pytest.raises(DataError, match="expected 40 labels"):
        steps.run.score(steps.sequences, steps.labels[:3])
    with pytest.raises(ValueError, match="a run that predicts classes, got one of numbers"):
        numbers.run.predict_proba(numbers.sequences)


def test_a_run_loads_on_another_number_of_devices(classes):
    np.save(classes.folder / "one.npy", classes.sequences[0][None])
    script = (
        f"import jax, numpy as np, sbo_jax; run = sbo_jax.load({str(classes.folder / 'run')!r});"
        f"print(jax.device_count(), run.predict(np.load({str(classes.folder / 'one.npy')!r}))[0])"
    )
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "3"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[1],
        check=True,
    )
    answer = classes.run.predict([classes.sequences[0]])[0]
    assert done.stdout.split() == ["3", str(answer)]


def test_a_language_model_is_asked_by_its_module(classes):
    content = classes.run.content
    words = content | {"model": content["model"] | {"metric": "perplexity"}}
    with pytest.raises(ValueError, match=r"a language model, which reads words; use .model"):
        TrainedRun(classes.run.model, words).predict(classes.sequences)


def test_parameters_that_are_not_finite_give_no_answer(classes):
    model = nnx.clone(classes.run.model)
    nnx.update(model, jax.tree.map(lambda x: x * np.nan, nnx.state(model, nnx.Param)))
    with pytest.raises(DataError, match="finite outputs of the model, got others for sample 0"):
        TrainedRun(model, classes.run.content).predict(classes.sequences)
