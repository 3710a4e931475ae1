"""The report of a run says what a reader would count, and its commands work as they stand."""

import json
import re
import shlex
import sys
from dataclasses import replace

import numpy as np
import pytest
from test_tasks_lengths import CLASSES, draw_task

import sbo_jax
from sbo_jax.runs.report.classes import of_classes
from sbo_jax.runs.report.markdown import table
from sbo_jax.runs.report.numbers import of_numbers
from sbo_jax.runs.report.pictures import draw
from sbo_jax.runs.train_command import run_command_line
from sbo_jax.training.predictions import Predicted

PNG = b"\x89PNG"


def cells(text, heading):
    """The rows of the first table below a heading, without its head."""
    below = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in below.splitlines() if line[:1] == "|"]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def named(task, names, **facts):
    """The task, with names of its samples, and of its classes or outputs."""
    known = {"classes": names} if task.metric == "accuracy" else {}
    ids = [f"run_{number}" for number in range(len(task.test))]
    layout = {"label": names}
    test = replace(task.test, ids=ids)
    return replace(task, test=test, layout=layout, facts={**task.facts, **known, **facts})


@pytest.mark.parametrize("per_step", [False, True])
def test_mistakes_are_named_from_the_surest_on_and_of_a_sequence_one(per_step, rng):
    lengths = rng.integers(2, 9, 30)
    names = ["rest", "wave", "push", "jump"]
    task = named(draw_task(rng, lengths, per_step=per_step), names)
    samples = np.repeat(np.arange(30), lengths if per_step else 1)
    steps = np.concatenate([np.arange(n) for n in lengths]) if per_step else None
    shuffled = rng.permutation(len(samples))
    logits = 30 * rng.normal(size=(len(samples), CLASSES))  # of which many are all but 1
    targets = rng.integers(0, CLASSES, len(samples))
    predicted = Predicted(
        logits, targets, samples[shuffled], steps if steps is None else steps[shuffled]
    )
    text, _ = of_classes(task, predicted)
    sure = {}
    for row, (logit, target, sample) in enumerate(
        zip(logits, targets, predicted.samples, strict=True)
    ):
        exponents = np.exp(np.longdouble(logit - logit.max()))
        doubt = exponents[np.arange(CLASSES) != logit.argmax()].sum()
        if logit.argmax() != target and doubt < sure.get(sample, (np.inf,))[0]:
            sure[sample] = doubt, row
    rows = [row for _, row in sorted(sure.values())][:10]
    found = cells(text, "The most confident mistakes")
    where = [
        [f"run_{predicted.samples[row]}"] + ([str(predicted.steps[row])] if per_step else [])
        for row in rows
    ]
    assert [row[: 1 + per_step] for row in found] == where
    classes = [[names[targets[row]], names[logits[row].argmax()]] for row in rows]
    assert [row[1 + per_step : 3 + per_step] for row in found] == classes


def test_a_model_without_mistakes_has_none_in_its_report(rng):
    task = draw_task(rng, [3, 4])
    logits = np.eye(CLASSES)
    text, _ = of_classes(task, Predicted(logits, np.arange(CLASSES), np.arange(CLASSES)))
    assert "No mistake was made" in text
    assert "There are none" in text


def test_errors_of_numbers_are_in_their_unit(rng):
    task = named(draw_task(rng, rng.integers(1, 9, 40), metric="mse"), ["grip", "pace"])
    unit, offset = np.array([1e-3, 50.0]), np.array([7.0, -2e3])
    task = replace(task, target_std=tuple(unit), facts={**task.facts, "target_mean": offset})
    scaled, errors = rng.normal(size=(2, 40, 2))
    text, _ = of_numbers(task, Predicted(scaled + errors, scaled, np.arange(40)))
    squares = ((scaled - scaled.mean(0)) ** 2).mean(0)
    expected = [np.abs(errors).mean(0) * unit, (errors**2).mean(0) * unit**2]
    expected += [1 - (errors**2).mean(0) / squares]
    rows = cells(text, "Outputs")
    assert [row[0] for row in rows] == ["grip", "pace"]
    np.testing.assert_allclose(
        np.array([row[1:] for row in rows], float), np.transpose(expected), rtol=1e-3
    )
    largest = cells(text, "The largest errors")
    order = np.argsort(-np.abs(errors).max(1))[:10]
    assert [row[0] for row in largest] == [f"run_{sample}" for sample in order]
    for row, sample in zip(largest, order, strict=True):
        output = np.abs(errors[sample]).argmax()
        true, error = (x[sample, output] * unit[output] for x in (scaled, errors))
        assert row[1] == ["grip", "pace"][output]
        numbers = np.array(row[2:], float)
        np.testing.assert_allclose(
            numbers, [true + offset[output], true + offset[output] + error, error], rtol=1e-3
        )


@pytest.mark.parametrize(
    "name", ["a|b", "<script>", "*star*", "two\nlines", "_x_", "`code`", "[a](b)"]
)
def test_any_name_stays_in_its_cell(name):
    head, rule, row = table(["class", "support"], [[name, 3]]).splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in (head, rule, row)}) == 1
    assert not re.search(r"(?<!\\)[<>*`\[]", row)


def test_without_matplotlib_a_report_says_what_its_picture_needs(tmp_path, monkeypatch):
    for module in list(sys.modules):
        if module.partition(".")[0] == "matplotlib":
            monkeypatch.setitem(sys.modules, module, None)
        elif module.startswith("sbo_jax.plots"):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delattr(sbo_jax, "plots", raising=False)
    assert "pip install matplotlib" in draw(tmp_path / "confusion.png", lambda plots: plots.none)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of the command on ids and classes with spaces, and what its files were."""
    folder = tmp_path_factory.mktemp("my data")
    rng = np.random.default_rng(0)
    rows = ["run,x,kind of move"]
    for number in range(24):
        values = (number % 2) + rng.normal(size=6)
        rows += [f"no. {number},{x:.3f},{['at rest', 'waves'][number % 2]}" for x in values]
    (folder / "steps.csv").write_text("\n".join(rows))
    (folder / "dataset.toml").write_text(
        'table = "steps.csv"\nsequence = "run"\nlabel = "kind of move"\nfeatures = ["x"]\n'
    )
    options = "--hidden 4 --updates 2 --batch-size 8 --no-refit".split()
    out = folder / "a run"
    assert (
        run_command_line(["--task", "folder", "--folder", str(folder), *options, "--out", str(out)])
        == 0
    )
    return out


def test_the_command_leaves_a_report_with_pictures_and_the_numbers_of_its_summary(trained):
    text = (trained / "report.md").read_text()
    summary = json.loads((trained / "summary.json").read_text())
    assert f"accuracy {summary['test']:.4g}" in text
    for picture in re.findall(r"!\[.*\]\((.*)\)", text):
        assert (trained / picture).read_bytes().startswith(PNG)
    assert "confusion.png" in text
    assert [row[0] for row in cells(text, "Classes")] == ["at rest", "waves"]
    wrong = round((1 - summary["test"]) * 5)
    mistakes = cells(text, "The most confident mistakes")
    assert len(mistakes) == wrong
    assert all(re.fullmatch(r"no\. \d+", row[0]) for row in mistakes)
    assert not list(trained.glob(".*.tmp"))


def test_the_command_in_a_report_goes_on_with_its_run_and_makes_the_report_anew(trained):
    whole = (trained / "report.md").read_text()
    (trained / "report.md").unlink()
    (command,) = re.findall(r"^python scripts/train.py (.*)$", whole, re.MULTILINE)
    before = (trained / "metrics.jsonl").read_text()
    assert run_command_line(shlex.split(command)) == 0
    assert (trained / "report.md").read_text() == whole
    assert (trained / "metrics.jsonl").read_text() == before
