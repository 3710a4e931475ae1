"""A stream answers, after every step, what the run answers to the whole so far."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

import sbo_jax
from sbo_jax import nn
from sbo_jax.tasks import DataError
from sbo_jax.trained import TrainedRun

D, HIDDEN = 3, 5
CLASSES = ["rest", "wave", "push"]
FACTS = {"mean": [1.0, 20.0, -3.0], "std": [2.0, 5.0, 0.1], "padded_to": [4, 16]}
NUMBERS = {"target_mean": [5.0, 1e3], "target_std": [0.1, 50.0]}
LAYOUT = {"inputs": "all.npz:x", "labels": "all.npz:y"}
close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


def made(head, rnn=None, *, layout=None, seed=0, **facts):
    """A run that was never on disk, of a model with weights large enough to tell steps apart."""
    rngs, indicated = nnx.Rngs(seed), facts.get("indicated", ())
    is_class = head in (nn.SequenceClassifier, nn.SequenceTagger)
    rnn = rnn or nn.SBORNN(D + len(indicated), HIDDEN, rngs=rngs)
    model = head(rnn, HIDDEN, 3 if is_class else 2, rngs=rngs)
    model.kernel[...] *= 3
    shape = {
        "in_features": D + len(indicated),
        "out_features": 3 if is_class else 2,
        "metric": "accuracy" if is_class else "mse",
        "length": 16,
        "per_step": head in (nn.SequenceTagger, nn.SequenceForecaster),
    }
    meant = {"classes": CLASSES} if is_class else NUMBERS
    content = {"config": {"batch_size": 8}, "model": shape, "task": FACTS | meant | facts}
    return TrainedRun(model, content | ({"layout": layout} if layout else {}))


@pytest.fixture(scope="module")
def tagging():
    return made(nn.SequenceTagger, features=["x", "y", "z"])


@pytest.fixture(scope="module")
def stream(tagging):
    """Of two sequences; compiled once for the tests that reset it first."""
    return tagging.stream(2)


def draw(rng, *shape):
    return rng.normal(FACTS["mean"], FACTS["std"], (*shape, D))


def test_the_answer_after_the_last_step_of_unequal_sequences_is_that_to_the_whole(rng):
    run = made(nn.SequenceClassifier)
    lengths = np.array([4, 9, 6])
    inputs = draw(rng, 3, 9)
    stream = run.stream(batch=3)
    for t in range(9):
        answers = stream.push(inputs[:, t], mask=t < lengths)
    whole = [sequence[:length] for sequence, length in zip(inputs, lengths, strict=True)]
    assert answers.tolist() == run.predict(whole).tolist() == stream.predict().tolist()
    close(stream.predict_proba(), run.predict_proba(whole))
    assert stream.num_steps.tolist() == lengths.tolist()


def test_every_push_gives_the_numbers_of_that_step_in_their_unit(rng):
    run = made(nn.SequenceForecaster)
    inputs = draw(rng, 2, 6)
    stream = run.stream(batch=2)
    found = np.stack([stream.push(inputs[:, t]) for t in range(6)], axis=1)
    close(found, run.predict(inputs), rtol=1e-4)


@pytest.mark.parametrize("missing", ["mask", "carry"])
@pytest.mark.parametrize("mark", [np.nan, -9999.0])
def test_gaps_are_treated_as_in_training(missing, mark, rng):
    marks = {} if np.isnan(mark) else {"gaps": mark}
    layout = LAYOUT | {"missing": missing, "per_step": True} | marks
    run = made(nn.SequenceTagger, layout=layout, indicated=[0, 2])
    inputs = draw(rng, 2, 12)
    inputs[rng.random(inputs.shape) < 0.4] = mark
    inputs[:, [0, 5]] = mark
    stream = run.stream(batch=2)
    answers, probabilities = [], []
    for t in range(12):
        answers.append(stream.push(inputs[:, t]))
        probabilities.append(stream.predict_proba())
    known = inputs.copy()
    known[known == mark] = np.nan
    first = np.argmax(~np.isnan(known).all(axis=2), axis=1)
    for row, begin in enumerate(first):
        assert {answers[t][row] for t in range(begin)} == {None}
        expected = run.predict_proba(inputs)[row][begin:]
        close([probabilities[t][row] for t in range(begin, 12)], expected)
        assert [answers[t][row] for t in range(begin, 12)] == [*run.predict(inputs)[row][begin:]]


def test_a_lost_step_keeps_state_and_answer_whatever_it_holds(tagging, stream, rng):
    stream.reset()
    inputs = draw(rng, 2, 5)
    stream.push(inputs[:, 0])
    before = stream.push(inputs[:, 1])
    assert stream.push(None).tolist() == before.tolist()
    spoilt = np.stack([inputs[0, 2], [np.nan, np.inf, 1e300]])
    assert stream.push(spoilt, mask=[True, False])[1] == before[1]
    stream.push(inputs[:, 3])
    arrived = [inputs[0, :4], inputs[1, [0, 1, 3]]]
    close(stream.predict_proba(), [each[-1] for each in tagging.predict_proba(arrived)])


def test_a_sequence_without_a_step_has_no_answer(stream, rng):
    stream.reset()
    assert stream.push(None).tolist() == [None, None]
    assert stream.push(draw(rng, 2), mask=[False, True])[0] is None
    assert np.isnan(stream.predict_proba()).all(axis=1).tolist() == [True, False]
    assert np.isnan(made(nn.SequenceRegressor).stream().push(None)).all()


def test_one_sequence_takes_steps_with_and_without_an_axis_in_front(rng):
    stream = made(nn.SequenceClassifier).stream()
    assert stream.push(None) is None
    answer = stream.push(draw(rng))
    assert type(answer) is str
    assert stream.push(None) == answer
    assert stream.push(draw(rng, 1)).shape == (1,)
    assert stream.predict_proba().shape == (1, 3)


@pytest.mark.parametrize("rows", [[], (), np.zeros(0, int), [False, False]])
def test_nothing_to_begin_anew_changes_nothing(rows, stream, rng):
    stream.reset()
    stream.push(draw(rng, 2))
    before = stream.state
    stream.reset(rows)
    for name, array in stream.state.items():
        np.testing.assert_array_equal(array, before[name])


def test_a_sequence_that_begins_anew_leaves_the_others_alone(tagging, stream, rng):
    stream.reset()
    inputs = draw(rng, 2, 5)
    for t in range(3):
        stream.push(inputs[:, t])
    for rows in ([1], [-1 + 2], [False, True]):
        stream.reset(rows)
    assert stream.predict()[1] is None
    for t in range(3, 5):
        stream.push(inputs[:, t])
    sequences = [inputs[0], inputs[1, 3:]]
    close(stream.predict_proba(), [each[-1] for each in tagging.predict_proba(sequences)])
    assert stream.num_steps.tolist() == [5, 2]
    assert repr(stream) == "Stream(batch=2): 2 to 5 steps read"


def test_a_stream_goes_on_from_a_state_as_often_as_one_likes(stream, rng):
    stream.reset()
    inputs = draw(rng, 2, 4)
    stream.push(inputs[:, 0])
    state = stream.state
    found = []
    for _ in range(2):
        stream.restore(state)
        stream.push(inputs[:, 1])
        found.append(stream.predict_proba())
    np.testing.assert_array_equal(*found)


def test_carried_values_are_part_of_the_state(rng):
    run = made(nn.SequenceTagger, layout=LAYOUT | {"missing": "carry", "per_step": True})
    stream, inputs = run.stream(), draw(rng, 2)
    stream.push(inputs[0])
    state = stream.state
    inputs[1, 1] = np.nan
    stream.push(inputs[1])
    other = run.stream()
    other.restore(state)
    other.push(inputs[1])
    np.testing.assert_array_equal(other.predict_proba(), stream.predict_proba())


OTHER_PROCESS = """
import sys
import numpy as np
from sbo_jax import nn
from test_stream import made
state, steps, out = sys.argv[1:]
stream = made(nn.SequenceTagger).stream(2)
stream.load(state)
for x in np.load(steps):
    stream.push(x)
np.save(out, stream.predict_proba())
"""


def test_a_saved_state_outlives_the_process(tmp_path, rng):
    run, inputs = made(nn.SequenceTagger), draw(rng, 2, 5)
    stream = run.stream(2)
    stream.push(inputs[:, 0])
    stream.push(inputs[:, 1])
    stream.save(tmp_path / "state.npz")
    np.save(tmp_path / "steps.npy", inputs[:, 2:].swapaxes(0, 1))
    paths = [str(tmp_path / name) for name in ("state.npz", "steps.npy", "out.npy")]
    here = Path(__file__).parent
    command, path = [sys.executable, "-c", OTHER_PROCESS, *paths], f"{here.parent}:{here}"
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": path})
    close(np.load(tmp_path / "out.npy"), [each[-1] for each in run.predict_proba(inputs)])


def test_the_state_of_another_run_or_batch_is_refused_and_changes_nothing(stream, rng):
    stream.reset()
    stream.push(draw(rng, 2))
    before = stream.predict_proba()
    retrained = made(nn.SequenceTagger, seed=1).stream(2).state
    rescaled = made(nn.SequenceTagger, mean=[0.0, 0.0, 0.0]).stream(2).state
    for other in (retrained, rescaled):
        with pytest.raises(DataError, match="a state of this run, got one of another run"):
            stream.restore(other)
    with pytest.raises(DataError, match=r"batch 2, got one of batch 1; try run.stream\(batch=1\)"):
        stream.restore(made(nn.SequenceTagger).stream().state)
    whole = stream.state
    changed = whole | {"carry[0].h": np.zeros((2, HIDDEN + 1), np.float32)}
    bare = {name: x for name, x in whole.items() if not name.startswith("carry")}
    for state, words in (
        ("text", "got 'text'"),
        (bare, "got one without carry"),
        (changed, r"expected carry\[0\].h of shape \(2, 5\)"),
    ):
        with pytest.raises(DataError, match=words):
            stream.restore(state)
    np.testing.assert_array_equal(stream.predict_proba(), before)


def test_a_damaged_or_missing_file_is_refused(stream, tmp_path):
    path = tmp_path / "state.npz"
    stream.save(path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (b"", whole[: len(whole) // 2], bytes(flipped), b"text", None):
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(DataError, match=r"expected a file that stream\.save wrote, got"):
            stream.load(path)


def test_a_state_is_written_whole_or_not_at_all(stream, tmp_path):
    for path in (tmp_path, tmp_path / "none" / "state.npz"):
        with pytest.raises(DataError, match=r"expected a (file|folder) to write to"):
            stream.save(path)
    assert [*tmp_path.iterdir()] == []


NAN, INF = np.nan, np.inf
MASKED = np.ma.masked_equal([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], 2.0)


@pytest.mark.parametrize(
    ("x", "options", "words"),
    [
        ([[1, 2, 3], [1, NAN, 3]], {}, r"got nan in feature 1 \('y'\) of sequence 1; a step that"),
        ([[1, 2, INF], [1, 2, 3]], {}, r"got inf in feature 2 \('z'\) of sequence 0"),
        ([[1, 2, 1e39], [1, 2, 3]], {}, "range of float32, got 1e[+]39"),
        ([1, 2, 3], {}, r"\[batch, features\] = \[2, 3\], got the shape \(3,\)"),
        ([[1, 2], [1, 2]], {}, r"expected 3 features \(x, y, z\), got 2"),
        ([[1, 2, 3], [1, 2]], {}, "a step of 3 features"),
        ([["a", "b", "c"]] * 2, {}, "real numbers, got the type <U1"),
        (MASKED, {}, "NaN for a gap, got a masked array"),
        ([*MASKED], {}, "NaN for a gap, got a masked array"),
        ([[1, 2, 3], None], {}, "expected"),
        ([[1, 2, 3]] * 2, {"mask": [1, 0]}, r"a mask of bool, one for each of 2 sequences"),
        ([[1, 2, 3]] * 2, {"mask": [True]}, r"got bool of shape \(1,\)"),
        (None, {"mask": [True, False]}, "features together with a mask"),
        ([[1, 2, 3e38]] * 2, {}, "finite outputs of the model"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_a_step_that_cannot_be_read_is_refused_and_changes_nothing(x, options, words, stream, rng):
    stream.reset()
    stream.push(draw(rng, 2))
    before = stream.state
    with pytest.raises(DataError, match=words):
        stream.push(x, **options)
    for name, array in stream.state.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("rows", [2, [-1], [True], "a", [0.5]])
def test_rows_that_are_not_there_are_refused(rows, stream):
    with pytest.raises(DataError, match="expected rows from 0 to 1, or a mask of 2 bool, got"):
        stream.reset(rows)


def test_a_stream_reads_on_where_predict_refuses_a_sequence_as_too_long(rng):
    inputs = draw(rng, 1, 6)
    short = made(nn.SequenceRegressor, layout=LAYOUT | {"metric": "mse", "max_length": 4})
    stream = short.stream()
    for x in inputs[0]:
        answer = stream.push(x)
    with pytest.raises(DataError, match="max_length = 4"):
        short.predict(inputs)
    close(answer, made(nn.SequenceRegressor).predict(inputs)[0], rtol=1e-4)


def test_numbers_have_no_probabilities():
    with pytest.raises(ValueError, match="one of numbers; try predict"):
        made(nn.SequenceRegressor).stream().predict_proba()


def test_a_run_that_reads_words_or_the_whole_sequence_has_no_stream():
    rollout = sbo_jax.SequenceEquilibrium()
    whole = nn.SBORNN(D, HIDDEN, lower=sbo_jax.EQUILIBRIUM, rollout=rollout, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="got SBORNN with SequenceEquilibrium"):
        made(nn.SequenceClassifier, whole).stream()
    words = TrainedRun(None, {"model": {"metric": "perplexity"}})
    with pytest.raises(ValueError, match="a language model, which reads words"):
        words.stream()
