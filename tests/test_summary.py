"""One page over the reports of many experiments, beside what others published."""

import json
import re
from decimal import Decimal
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from sbo_jax.experiments.summary import SummaryConfig, summarise
from sbo_jax.experiments.summary.command import BEGIN, END, pages
from sbo_jax.experiments.summary.pictures import pictures
from sbo_jax.experiments.summary.published import Number, Published
from sbo_jax.experiments.summary.results import read_results
from sbo_jax.experiments.variant import Variant

RESULTS = Path(__file__).parents[1] / "docs/results"


def row(name, validation, test, **more):
    base = {"parameters": 10, "seeds": list(range(len(test))), "task": {"name": "har2"}}
    base |= {"network": name, "model": "SBO-RNN, preset stable" if "SBO" in name else "lstm"}
    return base | {"name": name, "validation": list(validation), "test": list(test)} | more


def report(path, rows, metric="accuracy", title="An experiment"):
    path.write_text(json.dumps({"title": title, "metric": metric, "rows": rows}))


def published(folder, numbers, metric="accuracy", task='{ name = "har2" }', sources="ab"):
    """A file whose numbers are the bodies of inline tables."""
    text = "".join(
        f'[sources.{s}]\nreference = "Paper {s}"\nurl = "https://{s}"\n' for s in sources
    )
    lines = "".join(f"{{ {number} }}," for number in numbers)
    text += f'[[tasks]]\ntask = {task}\nmetric = "{metric}"\nnumbers = [{lines}]\n'
    (folder / "published.toml").write_text(text)


def front(folder):
    """The lines of the top table by their heads; a task is named where it changes."""
    page = pages(folder, read_results(folder))["summary.md"].split("\n## ")[0]
    head, _, *lines = [line for line in page.splitlines() if line.startswith("| ")]
    cut = [[cell.strip() for cell in line.strip("|").split("|")] for line in [head, *lines]]
    return [dict(zip(cut[0], line, strict=True)) for line in cut[1:]]


def test_validation_alone_picks_the_rows(tmp_path, rng):
    """Whatever the test split says, which is drawn apart, and in whichever experiment they are."""
    for metric, pick in (("accuracy", np.argmax), ("mse", np.argmin)):
        validation, test = rng.random((2, 8, 3))
        names = [f"SBO {i}" if i < 4 else f"other {i}" for i in range(8)]
        rows = list(map(row, names, validation.tolist(), test.tolist()))
        report(tmp_path / "a.json", rows[::2], metric)
        report(tmp_path / "b.json", rows[1::2], metric)
        means = validation.mean(1)
        expected = [names[pick(means[:4])], names[4 + pick(means[4:])]]
        assert [line["best here"] for line in front(tmp_path)] == expected


def test_a_row_of_fewer_seeds_is_not_the_best(tmp_path, rng):
    few, many = np.sort(rng.random((2, 3)), axis=0)[::-1].tolist()
    rows = [row("SBO few", few[:2], few[:2]), row("SBO many", many, many)]
    report(tmp_path / "a.json", rows)
    assert [line["best here"] for line in front(tmp_path)] == ["SBO many"]


def test_protocols_and_intervals_stand_where_a_run_was_asked_for_them(tmp_path):
    asked = {"refit": [0.5, 0.7], "best_test": [0.8, 0.9]}
    asked["intervals"] = {"refit": {"accuracy": [0.55, 0.65]}}
    report(
        tmp_path / "a.json", [row("SBO", [0.1, 0.2], [0.3, 0.3], **asked), row("LSTM", [1], [1])]
    )
    (tmp_path / "a.md").write_text("the table")
    ours, other = front(tmp_path)
    assert ours["experiment"] == "[An experiment](a.md)"
    (refit,) = (name for name in ours if "refit" in name)
    (best,) = (name for name in ours if "best test epoch" in name)
    assert "decides nothing" in best
    assert "60.0" in ours[refit]
    assert "[55.0 % to 65.0 %]" in ours[refit]
    assert "85.0" in ours[best]
    assert (other[refit], other[best]) == ("", "")
    report(tmp_path / "a.json", [row("SBO", [0.1], [0.3])])
    assert not {refit, best} & front(tmp_path)[0].keys()


def test_tasks_are_apart_by_length_and_fraction_and_stand_in_the_registry_s_order(tmp_path):
    adding, part = {"name": "adding", "length": 50}, {"name": "har2", "train_fraction": 0.1}
    tasks = [part, {"name": "har2"}, {"name": "digits"}]
    report(tmp_path / "a.json", [row(f"SBO {i}", [0], [0], task=t) for i, t in enumerate(tasks)])
    longer = adding | {"length": 400}
    rows = [row("SBO", [1], [1], task=task) for task in (longer, adding)]
    report(tmp_path / "b.json", rows, "mse")
    titles = [re.match(r"\[(.*?)\]", line["task"]).group(1) for line in front(tmp_path)]
    assert titles == [
        "Digits",
        "Adding, T = 50",
        "Adding, T = 400",
        "HAR-2",
        "HAR-2, 10 % of the training samples",
    ]


def test_diverged_rows_and_other_files_are_passed_over(tmp_path):
    report(tmp_path / "a.json", [row("SBO", [], []), row("LSTM", [0.5], [0.5])])
    (tmp_path / "b.json").write_text('{"rows": 3}')
    assert [line["best here"] for line in front(tmp_path)] == ["LSTM"]


def test_published_numbers_keep_their_digits_and_name_their_source(tmp_path):
    report(tmp_path / "a.json", [row("SBO", [0.5], [0.9559])])
    assert not {"published", "against published"} & front(tmp_path)[0].keys()
    numbers = ['network = "SBO-RNN", value = 95.50, source = "b"']
    numbers += ['network = "GRU", value = 93, to = 94, source = "a", parameters = 1_234']
    numbers += ['network = "LSTM", value = 92.0, source = "a"']
    published(tmp_path, numbers)
    ours, other = front(tmp_path)
    assert ours["published"] == "95.50 % [2]"
    assert ours["against published"] == "reached, 0.09 points better"
    assert other["published"] == "GRU 93 to 94 % [1]"
    assert (other["best here"], other["against published"]) == ("", "")
    page = pages(tmp_path, read_results(tmp_path))["summary.md"]
    assert "[2] Paper b <https://b>" in page
    assert "about 1,234" in page


def test_two_data_sets_of_one_name_are_not_compared(tmp_path):
    task = {"name": "folder", "folder": "own"}
    for name, samples in (("a", "12"), ("b", "12"), ("c", "34")):
        report(tmp_path / f"{name}.json", [row(name, [0.5], [0.5], task=task, samples=samples)])
        if name != "c":
            read_results(tmp_path)
    with pytest.raises(
        ValueError, match=r"data set of the name own, got others of .*'c' of c.json"
    ):
        read_results(tmp_path)


def test_a_number_is_reached_where_a_fraction_is_the_same_in_percent():
    for count in range(5000, 10_000):  # right answers of ten thousand
        number = Number("SBO-RNN", Decimal(count) / 100, "a")
        assert Published(Variant("digits"), "accuracy").against(number, count / 10_000) == "reached"


@pytest.mark.parametrize(("metric", "sign"), [("accuracy", 1), ("perplexity", -1)])
def test_what_is_not_reached_says_by_how_much(tmp_path, rng, metric, sign):
    unit = 0.01 if metric == "accuracy" else 1
    for _ in range(20):
        test, refit, low = rng.uniform(10, 90, 3)
        low, high = np.round([low, low + rng.uniform(1, 9)], 2)
        rows = [row("SBO", [0.5], [unit * test], refit=[unit * refit])]
        report(tmp_path / "a.json", rows, metric)
        for end, ends in ((None, (low, low)), (high, (low, high))):
            more = "" if end is None else f", to = {end}"
            published(tmp_path, [f'network = "SBO-RNN", value = {low}{more}, source = "a"'], metric)
            said = front(tmp_path)[0]["against published"].split("; refit: ")
            for words, ours in zip(said, (test, refit), strict=True):
                missing = max(ends[0] - ours, 0) if sign > 0 else max(ours - ends[1], 0)
                ahead = max(ours - ends[1], 0) if sign > 0 else max(ends[0] - ours, 0)
                assert words.startswith("short by " if missing else "reached")
                size = re.search(r"\d[\d.e-]*", words)
                found = float(size.group()) if size else 0
                assert found == pytest.approx(missing + ahead, abs=0.0051, rel=0.005)


def test_the_table_in_readme_is_replaced_and_what_is_around_it_stays(tmp_path):
    report(tmp_path / "a.json", [row("SBO", [0.5], [0.9559])])
    (tmp_path / "README.md").write_text("of one's own")
    assert summarise(SummaryConfig(tmp_path)) == 0
    assert (tmp_path / "README.md").read_text() == "of one's own"
    (tmp_path / "README.md").write_text(f"# Above\n{BEGIN}\nold\n{END}\nbelow")
    for _ in range(2):
        assert summarise(SummaryConfig(tmp_path)) == 0
        text = (tmp_path / "README.md").read_text()
        assert text.startswith(f"# Above\n{BEGIN}\n\n| task |")
        assert text.endswith(f"\n{END}\nbelow")
        assert "old" not in text
    assert "](summary.md#har-2)" in text


def curve(*validation, **more):
    return {"seed": 0, "steps": [*range(len(validation))], "validation": list(validation)} | more


def test_pictures_are_those_that_the_reports_have_the_data_of(tmp_path):
    part = {"task": {"name": "har2", "train_fraction": 0.1}}
    rows = [row("SBO, 100 %", [0.5], [0.9], curves=[curve(0.1, 0.2)]), row("RNN", [0.5], [0.9])]
    report(tmp_path / "a.json", rows)
    report(tmp_path / "b.json", [row("SBO", [0.5], [0.9], curves=[curve(0.1)])])
    rows = [rows[0], row("SBO, 10 %", [0.5], [0.9], **part), row("RNN, 10 %", [0.5], [0.8], **part)]
    report(tmp_path / "my c.json", rows)
    found = {picture.name: picture for picture in pictures(read_results(tmp_path))}
    assert sorted(found) == [
        "summary-a-curves.png",
        "summary-a-parameters.png",
        "summary-my c-fractions.png",
        "summary-my c-har2-0.1-parameters.png",
        "summary-my c-har2-curves.png",
    ]
    (axes,) = found["summary-my c-fractions.png"].draw().axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["SBO", "RNN"]
    assert summarise(SummaryConfig(tmp_path)) == 0
    page = (tmp_path / "summary.md").read_text()
    assert sorted(map(unquote, re.findall(r"\]\((summary-\S*?\.png)\)", page))) == sorted(found)
    for name in found:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_the_fractions_of_every_task_are_a_picture_with_all_of_them(tmp_path):
    rows = [
        row(f"GRU, train_fraction {fraction}", [0.5], [0.9], task={"name": name, **part})
        for name in ("digits", "har2")
        for fraction, part in (("0.1", {"train_fraction": 0.1}), ("1.0", {}))
    ]
    report(tmp_path / "a.json", rows)
    found = {one.name: one for one in pictures(read_results(tmp_path)) if "fractions" in one.name}
    assert sorted(found) == ["summary-a-digits-fractions.png", "summary-a-har2-fractions.png"]
    for one in found.values():
        (axes,) = one.draw().axes
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["GRU"]


@pytest.mark.parametrize(
    "content", [None, "{", "[]", '{"title": "a", "metric": "mse", "rows": [{}]}']
)
def test_a_folder_without_whole_reports_is_refused_in_one_sentence(tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    assert summarise(SummaryConfig(tmp_path)) == 2
    assert capsys.readouterr().err.startswith("benchmark.py: expected")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"] * (content is not None)


DAMAGED = {
    "no TOML": ("tasks = [", "end of document"),
    "no text": (b"\xff\xfe\x00", "utf-8"),
    "another part": ("task = 3", "`task`"),
    "no value": (['network = "A", source = "a"'], "`value` - at `$.tasks[0].numbers[0]`"),
    "a word": (['network = "A", value = "x", source = "a"'], "$.tasks[0].numbers[0].value"),
    "no number": (['network = "A", value = nan, source = "a"'], "tasks[0].numbers[0].value"),
    "below 0": (['network = "A", value = -1, source = "a"'], "tasks[0].numbers[0].value"),
    "a range that falls": (['network = "A", value = 9, to = 8, source = "a"'], "numbers[0].to"),
    "an unknown source": (['network = "A", value = 9, source = "z"'], "tasks[0].numbers[0].source"),
    "no parameters": (
        ['network = "A", value = 9, parameters = 0, source = "a"'],
        "$.tasks[0].numbers[0].parameters",
    ),
    "an unknown field": (['network = "A", value = 9, source = "a", valeu = 3'], "`valeu`"),
}


@pytest.mark.parametrize(("content", "words"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_published_numbers_are_refused_by_file_and_field(tmp_path, capsys, content, words):
    report(tmp_path / "a.json", [row("SBO", [0.5], [0.9])])
    if isinstance(content, list):
        published(tmp_path, content)
    else:
        content = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "published.toml").write_bytes(content)
    assert summarise(SummaryConfig(tmp_path)) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"benchmark.py: expected published numbers in {tmp_path}")
    assert words in said.replace("\n", " ")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("task", "metric", "words"),
    [
        ('{ name = "har3" }', "accuracy", "did you mean har2?"),
        ('{ name = "har2", train_fraction = 2 }', "accuracy", "train_fraction"),
        ('{ name = "har2" }', "acuracy", "tasks[0].metric"),
        ('{ name = "har2" }', "mse", "for HAR-2, got accuracy in a.json and mse in published.toml"),
    ],
)
def test_published_tasks_must_be_known_and_have_their_metric(tmp_path, capsys, task, metric, words):
    report(tmp_path / "a.json", [row("SBO", [0.5], [0.9])])
    published(tmp_path, [], metric, task)
    assert summarise(SummaryConfig(tmp_path)) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert words in said
    assert "published.toml" in said


def test_one_comment_without_the_other_is_refused(tmp_path, capsys):
    report(tmp_path / "a.json", [row("SBO", [0.5], [0.9])])
    for text in (BEGIN, END, f"{END} {BEGIN}"):
        (tmp_path / "README.md").write_text(text)
        assert summarise(SummaryConfig(tmp_path)) == 2
        assert "README.md" in capsys.readouterr().err
        assert (tmp_path / "README.md").read_text() == text


def test_the_pages_of_the_documentation_are_what_its_files_give():
    results = read_results(RESULTS)
    texts = pages(RESULTS, results)
    assert sorted(texts) == ["README.md", "summary.md"]
    for name, text in texts.items():
        assert (RESULTS / name).read_text(encoding="utf-8") == text
    drawn = sorted(picture.name for picture in pictures(results))
    assert sorted(path.name for path in RESULTS.glob("summary-*.png")) == drawn
