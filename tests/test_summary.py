"""One page over the reports of many experiments."""

import json
from pathlib import Path

import numpy as np
import pytest

from sbo_jax.experiments.summary import SummaryConfig, summarise, summary_page

RESULTS = Path(__file__).parents[1] / "docs/results"


def row(name, validation, test, **more):
    base = {"published": "", "parameters": 10, "seeds": list(range(len(test)))}
    return base | {"name": name, "validation": list(validation), "test": list(test)} | more


def report(path, rows, metric="accuracy", title="A task"):
    path.write_text(json.dumps({"title": title, "metric": metric, "rows": rows}))


def cells(page):
    lines = [line for line in page.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_validation_alone_picks_the_rows(tmp_path, rng):
    """Whatever the test split says, which is drawn apart."""
    for metric, pick in (("accuracy", np.argmax), ("mse", np.argmin)):
        validation, test = rng.random((2, 8, 3))
        names = [f"SBO {i}" if i < 4 else f"other {i}" for i in range(8)]
        rows = list(map(row, names, validation.tolist(), test.tolist()))
        report(tmp_path / "a.json", rows, metric)
        means = validation.mean(1)
        expected = [names[pick(means[:4])], names[4 + pick(means[4:])]]
        assert [line[1] for line in cells(summary_page(tmp_path))] == expected


def test_protocols_and_intervals_stand_where_a_run_was_asked_for_them(tmp_path):
    asked = {"refit": [0.5, 0.7], "best_test": [0.8, 0.9], "published": "95.59 [3]"}
    asked["intervals"] = {"refit": {"accuracy": [0.55, 0.65]}}
    report(
        tmp_path / "a.json",
        [row("SBO", [0.1, 0.2], [0.3, 0.3], **asked), row("LSTM", [1.0], [1.0])],
    )
    (tmp_path / "a.md").write_text("the table")
    ours, other = cells(summary_page(tmp_path))
    assert ours[0] == "[A task](a.md)"
    assert "60.0" in ours[5]
    assert "[55.0 % to 65.0 %]" in ours[5] or "[55.00 % to 65.00 %]" in ours[5]
    assert ours[7] == "95.59 [3]"
    assert other[5:8] == ["", "", ""]


def test_diverged_rows_and_other_files_are_passed_over(tmp_path):
    report(tmp_path / "a.json", [row("SBO", [], []), row("LSTM", [0.5], [0.5])])
    (tmp_path / "b.json").write_text('{"rows": 3}')
    assert [line[1] for line in cells(summary_page(tmp_path))] == ["LSTM"]


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_folder_without_reports_is_refused_in_one_sentence(tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    assert summarise(SummaryConfig(tmp_path)) == 2
    assert capsys.readouterr().err.startswith("benchmark.py: expected")


def test_the_page_of_the_documentation_is_what_its_reports_give():
    assert (RESULTS / "summary.md").read_text(encoding="utf-8") == summary_page(RESULTS)
