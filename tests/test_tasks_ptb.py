"""Laws of the Penn Treebank: counts, vocabulary, and windows that go on where others end."""

import os
from pathlib import Path

import numpy as np
import pytest
from task_properties import check_properties

from sbo_jax import tasks
from sbo_jax.tasks._types import DataError, Request
from sbo_jax.tasks.catalogue import ptb
from sbo_jax.tasks.raw import ptb as raw
from sbo_jax.tasks.sources import streams

REAL = Path(os.environ.get("SBO_JAX_RAW_DIR", "no such folder"))


@pytest.fixture
def texts(rng):
    """Sentences of every split: all words of a small vocabulary in training, some in the others."""
    known = [f"w{number}" for number in range(20)]
    lines = {"train": [" ".join(known)]}
    for split, count in (("train", 30), ("validation", 10), ("test", 12)):
        drawn = [" ".join(rng.choice(known, rng.integers(1, 9))) for _ in range(count)]
        lines[split] = lines.get(split, []) + drawn
    return lines


def write(folder, texts):
    (folder / raw.FOLDER).mkdir(parents=True, exist_ok=True)
    for split, lines in texts.items():
        text = "".join(f" {line} \n" for line in lines)
        (folder / raw.FOLDER / raw.FILES[split]).write_text(text)
    return folder


def expected(texts):
    words = {split: sum(len(raw.words(line)) for line in lines) for split, lines in texts.items()}
    return raw.ExpectedPtb(words, 21)


@pytest.fixture
def task(texts, tmp_path):
    folder = write(tmp_path / "raw", texts)
    return ptb.load(Request(length=5, data_dir=tmp_path, raw_dir=folder), expected(texts))


def test_the_entry_states_the_properties_of_the_task(task):
    check_properties("ptb", task, chosen_length=5)


def flat(texts, split):
    return [word for line in texts[split] for word in raw.words(line)]


def test_records_are_the_sentences_in_their_order(task, texts):
    order = ptb.vocabulary(flat(texts, "train"))
    for split, source in (("validation", task.validation), ("test", task.test)):
        assert [order[token] for token in source.tokens] == flat(texts, split)
    assert task.in_features == task.out_features == len(order) == 21


def test_words_are_numbered_by_frequency():
    assert ptb.vocabulary("b a c b c b".split()) == ["b", "c", "a"]
    assert ptb.vocabulary("z y x".split()) == ["x", "y", "z"]


def test_targets_are_the_tokens_that_follow(task):
    inputs, targets = task.train.fetch(np.arange(len(task.train)))
    np.testing.assert_array_equal(inputs.ravel()[1:], targets.ravel()[:-1])
    np.testing.assert_array_equal(inputs.ravel(), task.train.tokens[:-1])
    assert np.all(task.train.weights(np.arange(len(task.train))) == 1)


def test_rows_of_a_batch_go_on_where_they_ended(task):
    batches = tasks.training_batches(task.train, 3, seed=0)
    steps = len(task.train) // 3
    first_pass = [next(batches) for _ in range(steps)]
    rows = np.concatenate([batch.inputs for batch in first_pass], axis=1)
    for row, tokens in enumerate(rows):
        np.testing.assert_array_equal(
            tokens, task.train.tokens[row * steps * 5 : (row + 1) * steps * 5]
        )
    np.testing.assert_array_equal(next(batches).inputs, first_pass[0].inputs)  # no shuffling


def test_the_stream_is_a_function_of_the_position(task):
    batches = tasks.training_batches(task.train, 2, seed=0)
    wanted = [next(batches) for _ in range(2 * len(task.train))][7]
    found = next(tasks.training_batches(task.train, 2, seed=1, start=7))
    np.testing.assert_array_equal(found.inputs, wanted.inputs)


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_evaluation_judges_every_token_but_the_first_once(task, batch_size):
    seen = np.concatenate(
        [
            batch.targets[batch.weights > 0]
            for batch in tasks.evaluation_batches(task.test, batch_size)
        ]
    )
    np.testing.assert_array_equal(np.sort(seen), np.sort(task.test.tokens[1:]))


def test_processes_share_the_rows(task):
    whole = next(tasks.training_batches(task.train, 4, seed=0)).inputs
    for index in (0, 1):
        share = tasks.loader.Share(index, 2)
        own = next(tasks.training_batches(task.train, 4, seed=0, share=share)).inputs
        np.testing.assert_array_equal(own, whole[2 * index : 2 * index + 2])


def test_a_fraction_is_the_beginning_of_the_text(texts, tmp_path):
    folder = write(tmp_path / "raw", texts)
    ptb.load(Request(length=5, data_dir=tmp_path, raw_dir=folder), expected(texts))
    whole, part = (
        tasks.load("ptb", length=5, train_fraction=fraction, data_dir=tmp_path)
        for fraction in (None, 0.5)
    )
    tokens = part.train.tokens
    np.testing.assert_array_equal(tokens, whole.train.tokens[: len(tokens)])
    assert 0.5 * len(whole.train.tokens) - 6 < len(tokens) <= 0.5 * len(whole.train.tokens) + 1
    assert part.epoch_size == len(part.train) == part.facts["words"]["train"] // 5
    np.testing.assert_array_equal(part.test.tokens, whole.test.tokens)


def test_a_text_shorter_than_a_window_is_refused():
    with pytest.raises(DataError, match=r"more tokens than the 5 .*--length"):
        streams.full_windows(np.zeros(5, np.int32), 5)


def _drop(texts):
    texts["test"] = texts["test"][:-1]


def _rename(texts):
    texts["validation"][3] = "unheard"


def _shrink(texts):
    texts["train"][:] = [line.replace("w7", "w8") for line in texts["train"]]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (_drop, r"^expected [\d,]+ words in .*ptb\.test\.txt.*found [\d,]+"),
        (_rename, r"^expected the vocabulary of .*ptb\.valid\.txt, found 1 other words, 'unheard'"),
        (_shrink, r"^expected 21 different words in .*ptb\.train\.txt, found 20"),
    ],
)
def test_other_texts_are_refused_with_counts(texts, tmp_path, fault, words):
    if fault is _rename:  # as many words as before
        texts["validation"][3] = "w0"
    counts = expected(texts)
    fault(texts)
    folder = write(tmp_path / "raw", texts)
    with pytest.raises(DataError, match=words):
        ptb.load(Request(length=5, data_dir=tmp_path / "data", raw_dir=folder), counts)
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"^expected Mikolov's.*ptb\.train\.txt.*raw_dir"):
        tasks.load("ptb", data_dir=tmp_path, raw_dir=tmp_path)


def test_no_text_is_refused(tmp_path):
    write(tmp_path, {"train": [], "validation": [], "test": []})
    (tmp_path / raw.FOLDER / raw.FILES["test"]).write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match=r"^expected a text file at .*ptb\.test\.txt"):
        tasks.load("ptb", data_dir=tmp_path / "data", raw_dir=tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason="no folder with original files")
def test_the_real_files_are_the_expected_ones():
    found = raw.read(raw.find(REAL), raw.ORIGINAL)
    assert {split: len(columns["sentence"]) for split, columns in found.items()} == {
        "train": 42_068,
        "validation": 3_370,
        "test": 3_761,
    }
