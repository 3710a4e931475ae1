"""Bootstrap intervals of what is measured on the test split."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from sbo_jax.runs.test_split import bootstrap
from sbo_jax.runs.test_split.answers import Answers, read_answers, write_answers
from sbo_jax.runs.test_split.bootstrap import intervals
from sbo_jax.runs.test_split.statistics import statistics


def of_classes(rng, count, num_classes, num_units=None):
    """Answers that are right more often than not, some with equal probabilities."""
    labels = rng.integers(num_classes, size=count)
    logits = np.round(rng.normal(size=(count, num_classes)), 1)
    logits[np.arange(count), labels] += 1
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    units = np.arange(count) if num_units is None else rng.integers(num_units, size=count)
    units = np.unique(units, return_inverse=True)[1]
    unit = "sample" if num_units is None else "group"
    return Answers("accuracy", labels, probabilities, units, unit)


def of_numbers(rng, count, outputs):
    targets = rng.normal(3, 2, size=(count, outputs))
    answers = targets + rng.normal(size=targets.shape)
    return Answers("mse", targets, answers, np.arange(count), "sample")


def drawn_rows(answers, draw):
    """The rows of the answers that a draw of units has, as often as it has them."""
    return np.repeat(np.arange(len(answers.units)), draw[answers.units].astype(int))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_draw_has_the_scores_that_scikit_learn_gives_for_its_samples(rng, num_classes):
    answers = of_classes(rng, 60, num_classes, num_units=12)
    units = answers.num_units  # fewer than 12, where no sample fell into one
    draws = rng.multinomial(units, np.full(units, 1 / units), size=20).astype(float)
    ours = {name: of(draws) for name, of in statistics(answers).items()}
    for number, draw in enumerate(draws):
        rows = drawn_rows(answers, draw)
        labels, probabilities = answers.targets[rows], answers.outputs[rows]
        found = probabilities.argmax(-1)
        if len(np.unique(labels)) < num_classes:
            assert np.isnan(ours["auroc"][number])
            continue
        scores = probabilities[:, 1] if num_classes == 2 else probabilities
        expected = {
            "accuracy": metrics.accuracy_score(labels, found),
            "balanced_accuracy": metrics.balanced_accuracy_score(labels, found),
            "macro_f1": metrics.f1_score(labels, found, average="macro"),
            "auroc": metrics.roc_auc_score(labels, scores, multi_class="ovr"),
        }
        assert {name: values[number] for name, values in ours.items()} == pytest.approx(expected)


def test_a_draw_has_the_errors_that_scikit_learn_gives_for_its_samples(rng):
    answers = of_numbers(rng, 40, 3)
    draws = rng.multinomial(40, np.full(40, 1 / 40), size=20).astype(float)
    ours = {name: of(draws) for name, of in statistics(answers).items()}
    for number, draw in enumerate(draws):
        pair = (each[drawn_rows(answers, draw)] for each in (answers.targets, answers.outputs))
        targets, outputs = pair
        expected = {
            "mse": metrics.mean_squared_error(targets, outputs),
            "mae": metrics.mean_absolute_error(targets, outputs),
            "r2": metrics.r2_score(targets, outputs),
        }
        assert {name: values[number] for name, values in ours.items()} == pytest.approx(expected)


def test_of_many_samples_the_interval_of_an_accuracy_is_that_of_a_binomial(rng):
    answers = of_classes(rng, 8000, 2)
    hits = int((answers.outputs.argmax(-1) == answers.targets).sum())
    low, high = stats.binomtest(hits, 8000).proportion_ci(0.95, method="wilson")
    width = high - low
    assert intervals([answers])["accuracy"] == pytest.approx((low, high), abs=0.1 * width)


def test_the_interval_of_an_error_is_that_of_scipy(rng):
    answers = of_numbers(rng, 400, 1)
    errors = np.abs(answers.outputs - answers.targets)[:, 0]
    found = stats.bootstrap((errors,), np.mean, n_resamples=4000, method="percentile", rng=rng)
    low, high = found.confidence_interval
    assert intervals([answers])["mae"] == pytest.approx((low, high), abs=0.1 * (high - low))


def test_the_interval_of_a_perplexity_is_the_exponential_of_that_of_its_ratio(rng):
    counts = rng.integers(1, 30, size=200).astype(float)
    sums = counts * rng.normal(4, 0.5, size=200)
    answers = Answers("perplexity", counts, sums, np.arange(200), "window")

    def mean(sums, counts, axis):
        return sums.sum(axis) / counts.sum(axis)

    found = stats.bootstrap(
        (sums, counts), mean, paired=True, n_resamples=4000, method="percentile", rng=rng
    )
    low, high = found.confidence_interval
    ours = np.log(intervals([answers])["perplexity"])
    np.testing.assert_allclose(ours, (low, high), atol=0.1 * (high - low))


def subjects(rng, num_groups, samples=20):
    """Answers for groups that differ much in their share of right answers, 0.8 on average."""
    shares = rng.beta(0.8, 0.2, size=num_groups)
    hits = (rng.random((num_groups, samples)) < shares[:, None]).ravel()
    outputs = np.stack([hits, ~hits], axis=1).astype(float)
    units = np.repeat(np.arange(num_groups), samples)
    return Answers("accuracy", np.zeros(len(hits), int), outputs, units, "group")


def test_intervals_over_groups_hold_the_truth_where_those_over_samples_do_not(rng, monkeypatch):
    monkeypatch.setattr(bootstrap, "_DRAWS", 200)
    truth, by_group, by_sample = 0.8, [], []
    for _ in range(60):
        answers = subjects(rng, 30)
        alone = answers._replace(units=np.arange(len(answers.units)), unit="sample")
        for kept, each in ((by_group, answers), (by_sample, alone)):
            low, high = intervals([each])["accuracy"]
            kept.append(low <= truth <= high)
    assert np.mean(by_group) > 0.75  # 0.92 on average, with a deviation of 0.035
    assert np.mean(by_sample) < 0.72  # 0.45 on average, with a deviation of 0.065


def test_seeds_are_resampled_jointly(rng):
    first = of_classes(rng, 500, 3)
    # what is right in one seed and wrong in the other always gives a mean of one half
    wrong = np.roll(first.outputs, 1, axis=-1)
    hit = (first.outputs.argmax(-1) == first.targets)[:, None]
    right = np.eye(3)[first.targets]
    other = first._replace(outputs=np.where(hit, np.roll(right, 1, axis=-1), right))
    assert intervals([first, other])["accuracy"] == pytest.approx((0.5, 0.5))
    equal = intervals([first, first])
    assert equal == intervals([first]) != intervals([first._replace(outputs=wrong)])


def test_what_is_not_defined_has_no_interval(rng):
    answers = of_classes(rng, 40, 3)
    one_class = intervals([answers._replace(targets=np.zeros(40, int))])
    assert one_class["auroc"] is None
    assert one_class["accuracy"] is not None
    one_group = answers._replace(units=np.zeros(40, int), unit="group")
    assert set(intervals([one_group]).values()) == {None}


def test_answers_in_a_file_have_the_same_intervals(rng, tmp_path):
    answers = of_classes(rng, 50, 3, num_units=10)
    # In the type of the file: rounding would make ties of what differs in the last digit.
    answers = answers._replace(outputs=answers.outputs.astype(np.float32))
    write_answers(tmp_path / "a.npz", answers)
    found = read_answers(tmp_path / "a.npz")
    assert found.is_paired_with(answers)
    assert not found.is_paired_with(answers._replace(targets=answers.targets[::-1]))
    assert intervals([found]) == intervals([answers])
    (tmp_path / "a.npz").write_bytes(b"PK")
    assert read_answers(tmp_path / "a.npz") is None
    assert read_answers(tmp_path / "b.npz") is None
