"""The estimators read sequences of any kind, and train as the task folder does."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sbo_jax.estimators import SBOClassifier, SBORegressor
from sbo_jax.estimators.sequences import of_channels
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.folder.run_folder import RunFolder
from sbo_jax.runs.preparation import prepare
from sbo_jax.runs.run import train
from sbo_jax.trained import load
from sbo_jax.training.losses import Diverged

QUICK = {"hidden": 4, "updates": 75, "upper_rate": 0.03, "random_state": 0}
CLASSES = np.array(["low", "high"])
NUMBERS = np.arange(40) % 2


def drawn(rng):
    """Sequences [40, 9, 2] whose level is their class."""
    return rng.normal(size=(40, 9, 2)) + NUMBERS[:, None, None]


@pytest.fixture(scope="module")
def fitted():
    X = drawn(np.random.default_rng(0))
    return X, SBOClassifier(**QUICK).fit(X, CLASSES[NUMBERS])


def test_a_fit_is_the_run_of_the_task_folder_on_the_same_samples(tmp_path, fitted):
    X, estimator = fitted
    # all samples of the estimator are training samples of the task; its test samples are others
    np.savez(tmp_path / "a.npz", x=X, y=CLASSES[NUMBERS])
    np.savez(tmp_path / "b.npz", x=X + 1, y=CLASSES[NUMBERS])
    text = 'inputs = "a.npz:x"\nlabels = "a.npz:y"\ntest = {inputs = "b.npz:x", labels = "b.npz:y"}'
    (tmp_path / "dataset.toml").write_text(text)
    options = {name: value for name, value in QUICK.items() if name != "random_state"}
    config = TrainConfig.of(task="folder", folder=str(tmp_path), mesh="data=1", **options)
    with RunFolder(tmp_path / "run") as folder:
        summary = train(prepare(config), folder)
    run = load(tmp_path / "run")
    assert summary["best_validation"] == estimator.run_.summary["best_validation"]
    np.testing.assert_array_equal(run.predict_proba(X), estimator.predict_proba(X))


def test_a_fit_that_fails_leaves_the_classes_of_the_one_before(rng):
    X, labels = drawn(rng), np.array(["a", "b", "c"])[NUMBERS % 2]
    estimator = SBOClassifier(**QUICK).fit(X, labels)
    answers = estimator.predict(X)
    estimator.set_params(mu=2.0)
    with pytest.raises(ValueError, match="mu"):
        estimator.fit(X, np.where(labels == "b", "c", labels))
    found = estimator.classes_[estimator.predict_proba(X).argmax(axis=1)]
    assert found.tolist() == answers.tolist() == estimator.predict(X).tolist()


def test_the_run_of_an_estimator_says_how_it_was_drawn_and_weighted(rng):
    X, seed = drawn(rng), int(rng.integers(1, 100))
    options = QUICK | {"random_state": seed}
    weights = {name: float(number) for number, name in enumerate(sorted({*CLASSES[NUMBERS]}), 1)}
    run = SBOClassifier(class_weight=weights, **options).fit(X, CLASSES[NUMBERS]).run_
    assert (run.config["seed"], run.config["split_seed"]) == (seed, seed)
    assert run.content["task"]["class_weights"] == [*weights.values()]


def test_a_training_that_diverges_names_the_parameter_that_made_it(rng):
    steep = {"model": "rnn", "weight_decay": 1e6}
    words = (
        r"; weight_decay 1e\+06 times the largest step size 0.03 .*; try a smaller weight_decay$"
    )
    with pytest.raises(Diverged, match=words) as error:
        SBOClassifier(**QUICK | steep).fit(drawn(rng), NUMBERS)
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)  # as searches do


def test_lists_arrays_and_tables_of_one_feature_are_one_data_set(rng):
    X, y = drawn(rng)[..., :1], NUMBERS
    ways = [X, X[..., 0], list(X), X[..., 0].tolist()]
    first, *others = (SBOClassifier(model="rnn", **QUICK).fit(way, y) for way in ways)
    for other in others:
        np.testing.assert_array_equal(other.predict_proba(X), first.predict_proba(X))


def test_sequences_of_unequal_lengths_are_learned_and_answered_in_their_order(rng):
    X = [x[: 5 + 4 * (i % 2)] for i, x in enumerate(drawn(rng) * 0.1 + NUMBERS[:, None, None])]
    estimator = SBOClassifier(**QUICK).fit(X, CLASSES[NUMBERS])
    answers = estimator.predict(X)
    assert (answers == CLASSES[NUMBERS]).mean() > 0.9
    order = rng.permutation(len(X))
    np.testing.assert_array_equal(estimator.predict([X[i] for i in order]), answers[order])


def test_numbers_come_back_in_their_unit_and_shape(rng):
    X = drawn(rng)
    y = 1e4 + 500 * X.mean(axis=1)
    estimator = SBORegressor(**{**QUICK, "hidden": 16, "updates": 300})
    assert estimator.fit(X, y).score(X, y) > 0.3
    assert estimator.predict(X).shape == (40, 2)
    assert abs(estimator.predict(X).mean() - 1e4) < 1000


@pytest.mark.parametrize("size", [1e20, 1e-20, 1e200, 1e-200])
def test_a_unit_whose_squares_are_no_float32_is_refused(size, rng):
    X = drawn(rng)
    with pytest.raises(ValueError, match=r"expected (targets|labels) .*; choose another unit$"):
        SBORegressor(**QUICK).fit(X, size * X.mean(axis=(1, 2)))


@pytest.mark.parametrize("size", [2.0**50, 2.0**-50])  # which round nothing
def test_a_unit_does_not_change_what_is_learned(size, rng):
    X = drawn(rng)
    y = X.mean(axis=(1, 2))
    one, other = (SBORegressor(**QUICK).fit(X, unit * y) for unit in (1, size))
    np.testing.assert_allclose(other.predict(X), size * one.predict(X), rtol=1e-6)


def test_a_number_beyond_float32_is_refused_with_its_sample(rng):
    with pytest.raises(ValueError, match=r"in the range of float32, got .*e\+39.* in sample 0;"):
        SBORegressor(**QUICK).fit(drawn(rng), np.full(40, 1e39))


@pytest.mark.parametrize("dtype", [str, object, np.int8, bool, float])
def test_answers_have_the_type_of_the_labels(fitted, dtype):
    X, _ = fitted
    y = CLASSES[NUMBERS].astype(dtype) if dtype in (str, object) else NUMBERS.astype(dtype)
    answers = SBOClassifier(**QUICK).fit(X, y).predict(X)
    assert answers.dtype == y.dtype
    assert set(answers) <= set(y)


def test_a_pickled_estimator_answers_as_it_did(fitted):
    X, estimator = fitted
    again = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(again.predict_proba(X), estimator.predict_proba(X))
    assert repr(again.run_) == repr(estimator.run_)


def test_a_fit_of_equal_shapes_compiles_nothing(fitted, rng):
    import jax

    X, estimator = fitted
    again = clone(estimator).set_params(random_state=1)
    estimator.predict(X)
    with jax.log_compiles(False), pytest.MonkeyPatch.context() as patch:
        compiled = []
        patch.setattr("jax._src.compiler.compile_or_get_cached", lambda *a, **k: compiled.append(a))
        again.fit(X + rng.normal(size=X.shape), CLASSES[NUMBERS]).predict(X)
    assert not compiled


def test_a_search_over_eta_finds_one(fitted):
    X, estimator = fitted
    search = GridSearchCV(estimator, {"eta": [0.05, 0.3]}, cv=2, error_score="raise")
    search.fit(X, CLASSES[NUMBERS])
    assert search.best_params_["eta"] in (0.05, 0.3)
    assert search.best_estimator_.run_.config["eta"] == search.best_params_["eta"]


def test_tools_of_scikit_learn_take_an_estimator(fitted):
    X, estimator = fitted
    y, quick = CLASSES[NUMBERS], clone(estimator)
    assert cross_val_score(quick, list(X), y, cv=2, error_score="raise").min() >= 0.5
    pipeline = make_pipeline(FunctionTransformer(np.cumsum, kw_args={"axis": 1}), quick).fit(X, y)
    assert pipeline.score(X, y) > 0.5
    calibrated = CalibratedClassifierCV(quick, cv=2).fit(X, y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)


def test_gaps_are_read_where_they_are_treated(fitted, rng):
    X, estimator = fitted
    gappy = np.where(rng.random(X.shape) < 0.1, np.nan, X)
    y = CLASSES[NUMBERS]
    with pytest.raises(ValueError, match=r"NaN; try missing="):
        estimator.predict(gappy)
    assert set(SBOClassifier(missing="carry", **QUICK).fit(gappy, y).predict(gappy)) <= set(y)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mu": 0.9, "solver": "sgd"}, "mu has no effect with solver sgd; remove it"),
        ({"upper_rate": -1.0}, "expected a finite upper-level rate > 0, got -1"),
        ({"batch_size": 1000}, "training samples of folder, got 1000; try batch_size 32"),
        ({"solver": "sgdd"}, "did you mean sgd"),
        ({"missing": "drop"}, "expected missing as refuse, carry or mask, got 'drop'"),
        ({"validation_fraction": 1}, "expected 0 < validation_fraction < 1, got 1; try 0.2"),
        ({"class_weight": {"medium": 2}}, "not in class_weight"),
    ],
)
def test_parameters_are_refused_by_fit_in_one_sentence(fitted, options, sentence):
    X, _ = fitted
    with pytest.raises(ValueError, match=re.escape(sentence)):
        SBOClassifier(**options).fit(X, CLASSES[NUMBERS])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda X: X[..., :1], "expected 2 features, got 1"),
        (lambda X: X[0], "one sequence is x[None]"),
        (lambda X: [*X, X[0, :, 0]], "expected 2 features in every sequence"),
        (lambda X: X.astype(complex), "expected real numbers, got the type complex128"),
        (lambda X: np.where(X > 1, np.inf, X), "expected finite numbers in X, got inf"),
        (lambda X: X[None], "expected sequences [samples, steps, features]"),
    ],
)
def test_sequences_of_another_kind_are_refused_in_one_sentence(fitted, change, sentence):
    X, estimator = fitted
    with pytest.raises(ValueError, match=re.escape(sentence)):
        estimator.predict(change(X))


def _as_object(arrays):
    whole = np.empty(len(arrays), object)
    whole[:] = arrays
    return whole


@pytest.mark.parametrize(
    "change",
    [
        lambda X: X,
        list,
        lambda X: [X[0], X[1][:5]],
        lambda X: _as_object([X[0], X[1][:5]]),
        lambda X: X[..., 0],
        lambda X: list(X[..., 0]),
    ],
)
def test_a_mask_is_refused_and_not_dropped(fitted, change):
    X, estimator = fitted
    masked = change(np.ma.masked_array(X, X > 1))
    for use in (estimator.predict, lambda X: clone(estimator).fit(X, NUMBERS[: len(X)])):
        with pytest.raises(ValueError, match=r"NaN for a gap, got a masked array; try x.filled"):
            use(masked)


def test_every_class_keeps_a_training_sample(fitted):
    X, _ = fitted
    labels = np.where(np.arange(40) == 7, "rare", CLASSES[NUMBERS])
    for seed in range(5):
        run = SBOClassifier(**{**QUICK, "random_state": seed, "model": "rnn"}).fit(X, labels).run_
        assert run.classes == ["high", "low", "rare"]
        assert run.content["task"]["counts"]["validation"] in (7, 8)


def test_weights_of_classes_move_answers_towards_them(fitted, rng):
    X, _ = fitted
    X = rng.normal(size=X.shape)  # which say nothing about the class
    low = {}
    for weight in (1, 100):
        weighted = SBOClassifier(class_weight={"low": weight}, select="loss", **QUICK)
        weighted.fit(X, CLASSES[NUMBERS])
        low[weight] = weighted.predict_proba(X)[:, list(weighted.classes_).index("low")].mean()
    assert low[100] > low[1] + 0.2


def test_the_layout_of_aeon_is_turned_into_ours(rng):
    X = drawn(rng)
    np.testing.assert_array_equal(of_channels(X.transpose(0, 2, 1)), X)
    for ours, turned in zip(X, of_channels([x.T for x in X]), strict=True):
        np.testing.assert_array_equal(turned, ours)


def test_the_page_about_estimators_works_as_it_stands():
    page = Path(__file__).parents[1] / "docs/estimators.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["search"].best_score_ > 0.7
