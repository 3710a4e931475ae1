"""Fuzzers: whatever is asked for works and is finite, or is refused in the project's own words.

A few seconds of each run with the suite; `--fuzz 2000` asks for that many examples of each.
"""

import contextlib
import io
import json
import math
import re
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from unittest.mock import MagicMock

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import sbo_jax as sbo
from sbo_jax._checks import literals
from sbo_jax.benchmarks import speed
from sbo_jax.experiments.file import read_experiment
from sbo_jax.experiments.results import read_lines
from sbo_jax.experiments.search.file import read_search
from sbo_jax.rollouts.parallel import unroll_parallel
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.folder.run_folder import RunFolder
from sbo_jax.runs.preparation import prepare
from sbo_jax.runs.run import train
from sbo_jax.runs.sweep import SweepConfig, prepare_sweep

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
import benchmark
import launch_local
import prepare_data

pytestmark = pytest.mark.slow

FUZZ = settings.get_profile("fuzz")
# TOML's errors and the system's are passed on, with the path in front.
OURS = re.compile(r"expected|no effect|has no|is not|^/tmp|^--")


@pytest.fixture(autouse=True)
def as_users_run_it(monkeypatch):
    """Without the checks of types that the suite installs."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def works_or_is_refused(call):
    """The result, or None where it is refused; anything else is a fault."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning)
            return call()
    except (ValueError, OSError) as error:
        refusal = error
    assert OURS.search(str(refusal)), repr(refusal)
    return None


# (a) Configurations of all five scripts.

NUMBERS = {
    int: [-1, 0, 1, 2, 3, 5, 8, 10**6, 2**31 - 1, 2**31, 10**18],
    float: [-1.0, 0.0, 1e-50, 1e-45, 1e-3, 0.1, 0.5, 0.99, 1.0, 1.5, 1e4, 1e39, math.nan, math.inf],
    bool: [False, True],
}
SMALL = {"task": "adding", "length": 5, "hidden": 4, "batch_size": 16, "train_fraction": 0.01}


def values_of(option):
    """Values of an option's type, good and bad, and sometimes of another type."""
    names = literals(option.hint)
    if names:
        some = st.sampled_from([*names, "x"])
        return st.lists(some, max_size=2).map(tuple) if "tuple" in str(option.hint) else some
    kinds = [kind for kind in NUMBERS if kind.__name__ in str(option.hint)]
    good = st.sampled_from([value for kind in kinds for value in NUMBERS[kind]] or ["a", ""])
    if "tuple" in str(option.hint):
        return st.lists(good, max_size=3).map(tuple)
    return st.one_of(good, good, good, st.sampled_from([None, "a", 0.5, 3, True]))


def configurations(kind, skip):
    options = {n: o for n, o in kind.options().items() if n not in skip}
    chosen = st.lists(st.sampled_from(sorted(options)), max_size=5, unique=True)
    return chosen.flatmap(
        lambda names: st.fixed_dictionaries({n: values_of(options[n]) for n in names})
    )


PLACES = {"out", "resume", "folder", "raw_dir", "data_dir", "tensorboard", "mesh", "task"}
PLACES |= {"profile", "compilation_cache"}


@FUZZ
@given(configurations(TrainConfig, PLACES), st.sampled_from(["adding", "digits"]), st.booleans())
def test_a_configuration_is_prepared_and_trains_or_is_refused(options, task, small):
    base = (SMALL if task == "adding" else {"task": task, "hidden": 4}) if small else {"task": task}
    prepared = works_or_is_refused(lambda: prepare(TrainConfig.of(**base | options)))
    cheap = SMALL | {"epochs": 1}
    if prepared is None or not TRAINED.wanted() or not small or task != "adding":
        return
    config = works_or_is_refused(lambda: prepared.config.changed(**cheap))
    prepared = config and works_or_is_refused(lambda: prepare(config))
    if prepared is None:
        return
    with tempfile.TemporaryDirectory() as path, RunFolder(Path(path, "run")) as folder:
        summary = works_or_is_refused(lambda: train(prepared, folder))
        assert summary is None or summary.get("stopped") or math.isfinite(summary["test"])


class TRAINED:
    """One configuration of ten is trained."""

    count = 0

    @classmethod
    def wanted(cls):
        cls.count += 1
        return cls.count % 10 == 1


@FUZZ
@given(configurations(SweepConfig, PLACES | {"mesh"}))
def test_a_sweep_is_prepared_or_is_refused(options):
    base = {"task": "adding", "length": 4, "hidden": 3, "etas": (0.1,), "mus": (0.5,)}
    works_or_is_refused(lambda: prepare_sweep(SweepConfig.of(**base | options)))


WORDS = st.sampled_from(
    [
        *"--seconds 0 -1 nan --shapes 2,2,2 2,2 a --only floor --out --at-once 3 --report".split(),
        *"none.toml --epochs --lengths 1 101010101010101010 --help mnist --raw-dir".split(),
        *"~nobody/x gs://a/b --peaks --seeds x\0y é".split(),
        "",
    ]
)
COMMANDS = {
    "speed": benchmark.run_command_line,
    "choices": benchmark.run_command_line,
    "relaxations": benchmark.run_command_line,
    "run": benchmark.run_command_line,
    None: prepare_data.run_command_line,
    "": launch_local.run_command_line,
}


@FUZZ
@given(st.sampled_from(list(COMMANDS)), st.lists(WORDS, max_size=4))
def test_a_command_line_runs_or_is_refused(name, words):
    """What it would do takes minutes, and is replaced."""
    printed = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patched,
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stderr(printed),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        patched.chdir(folder)
        patched.setattr(speed, "measure", lambda *_: [])
        for module, function in REPLACED:
            patched.setattr(sys.modules[module], function, lambda *_, **__: [])
        patched.setattr(sys.modules["sbo_jax.plots"], "relaxations", MagicMock())
        patched.setattr(launch_local, "launch", lambda *_: 0)
        try:
            code = COMMANDS[name]([name] * bool(name) + words)
        except SystemExit as ended:  # of the parser
            code = ended.code
    assert code in (0, 1, 2, None)
    assert "fault of sbo_jax" not in printed.getvalue(), printed.getvalue()
    assert "Traceback" not in printed.getvalue()


REPLACED = [
    ("sbo_jax.benchmarks.choices", "measure"),
    ("sbo_jax.benchmarks.relaxations", "_accuracy"),
    ("sbo_jax.benchmarks.relaxations", "_memory"),
]


# (b) Bytes of every file that is read.


@st.composite
def damages(draw):
    """A function of bytes: bits flipped, cut, replaced, repeated or filled in."""
    kind, seed = draw(st.integers(0, 5)), draw(st.integers(0, 2**32 - 1))

    def damage(data):
        rng = np.random.default_rng(seed)
        data = bytearray(data)
        at = int(rng.integers(len(data) + 1))
        other = rng.bytes(int(rng.integers(1, 9)))
        if kind == 0 and data:
            for _ in range(int(rng.integers(1, 4))):
                data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            data[at:at] = other
        elif kind == 3:
            data[at : at + len(other)] = other
        elif kind == 4:
            data[at:at] = data[at : at + 40] * int(rng.integers(1, 50))
        else:
            data[at:at] = bytes(rng.choice(list(b'[]{}",:0-9eE.nulNa\n\x00\xff'), 12).tolist()) * 50
        return bytes(data)

    return damage


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    with RunFolder(path) as folder:
        train(prepare(TrainConfig.of(**SMALL | {"epochs": 2})), folder)
    return path


@pytest.fixture(scope="module")
def data_sets(tmp_path_factory):
    """One of every layout."""
    rng = np.random.default_rng(0)
    folders = [tmp_path_factory.mktemp(write.__name__) for write in LAYOUTS]
    for write, folder in zip(LAYOUTS, folders, strict=True):
        write(folder, rng.normal(size=(12, 4, 2)))
    return folders


def sequence_files(folder, inputs):
    lines = ["file,label"]
    for number, sequence in enumerate(inputs):
        np.savetxt(folder / f"{number}.csv", sequence, delimiter=",")
        lines.append(f"{number}.csv,{'ab'[number % 2]}")
    (folder / "index.csv").write_text("\n".join(lines))
    (folder / "dataset.toml").write_text('index = "index.csv"')


def array_files(folder, inputs):
    np.savez(folder / "all.npz", x=inputs, y=np.arange(12) % 2)
    np.save(folder / "x.npy", inputs)
    (folder / "dataset.toml").write_text('inputs = "x.npy"\nlabels = "all.npz:y"')


def ragged_arrays(folder, inputs):
    at = np.array([0, *np.cumsum([3, 5] * 6)])
    np.savez(folder / "all.npz", x=inputs.reshape(-1, 2), y=np.arange(48) % 2, at=at)
    text = 'inputs = "all.npz:x"\nlabels = "all.npz:y"\noffsets = "all.npz:at"\nper_step = true'
    (folder / "dataset.toml").write_text(text)


def columns_of(inputs):
    count = len(inputs) * 4
    return {
        "run": [f"r{row // 4}" for row in range(count)],
        "t": [row % 4 for row in range(count)],
        "x": inputs[..., 0].ravel().tolist(),
        "y": inputs[..., 1].ravel().tolist(),
        "kind": ["ab"[row // 4 % 2] for row in range(count)],
    }


TABLE = 'sequence = "run"\ntime = "t"\nlabel = "kind"\nmissing = "mask"\n'


def text_table(folder, inputs):
    columns = columns_of(inputs)
    rows = [
        ",".join(columns),
        *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True)),
    ]
    (folder / "all.csv").write_text("\n".join(rows))
    (folder / "dataset.toml").write_text(f'table = "all.csv"\n{TABLE}')


def parquet_table(folder, inputs):
    pq.write_table(pa.table(columns_of(inputs)), folder / "all.parquet")
    (folder / "dataset.toml").write_text(f'table = "all.parquet"\n{TABLE}')


def archive(folder, inputs):
    for part in ("TRAIN", "TEST"):
        rows = [
            ":".join([*(",".join(map(str, feature)) for feature in sequence.T), "ab"[number % 2]])
            for number, sequence in enumerate(inputs)
        ]
        text = "\n".join(["@classLabel true a b", "@data", *rows])
        (folder / f"Set_{part}.ts").write_text(text)
    (folder / "dataset.toml").write_text('archive = "Set"\nmissing = "carry"')


LAYOUTS = [sequence_files, array_files, ragged_arrays, text_table, parquet_table, archive]


def damaged_copy(source, into, damage, choice):
    """A copy of a folder with one file damaged: which one, `choice` in [0, 1) decides."""
    copy = Path(shutil.copytree(source, Path(into, "copy")))
    files = sorted(path for path in copy.rglob("*") if path.is_file() and path.suffix != ".png")
    target = files[int(choice * len(files))]
    target.write_bytes(damage(target.read_bytes()))
    return copy


CHOICES = st.floats(0, 1, exclude_max=True)


@FUZZ
@given(damages(), CHOICES)
def test_a_damaged_run_is_loaded_as_it_was_or_is_refused(finished, damage, choice):
    expected = parameters(sbo.load(finished))
    with tempfile.TemporaryDirectory() as path:
        copy = damaged_copy(finished, path, damage, choice)
        run = works_or_is_refused(lambda: sbo.load(copy))
        if run is not None:
            assert repr(run)
            np.testing.assert_array_equal(parameters(run), expected)


def parameters(run):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(nnx.state(run.model, nnx.Param))])


@FUZZ
@given(damages(), CHOICES)
def test_a_damaged_run_goes_on_as_it_was_or_is_refused(finished, damage, choice):
    lines = (finished / "metrics.jsonl").read_text()

    def go_on(copy):
        with RunFolder(copy, resume=True) as folder:
            return train(prepare(TrainConfig.of(**SMALL | {"epochs": 2})), folder)

    with tempfile.TemporaryDirectory() as path:
        copy = damaged_copy(finished, path, damage, choice)
        if works_or_is_refused(lambda: go_on(copy)):
            assert (copy / "metrics.jsonl").read_text() == lines
            np.testing.assert_array_equal(
                parameters(sbo.load(copy)), parameters(sbo.load(finished))
            )


@FUZZ
@given(damages(), CHOICES, st.integers(0, 5))
def test_a_damaged_data_set_is_read_or_is_refused(data_sets, damage, choice, which):
    with tempfile.TemporaryDirectory() as path:
        copy = damaged_copy(data_sets[which], path, damage, choice)
        task = works_or_is_refused(lambda: sbo.tasks.load("folder", folder=copy))
        if task is not None:
            batch = next(sbo.tasks.training_batches(task.train, 4, seed=0))
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(batch))


EXPERIMENT = (Path(__file__).parents[1] / "scripts/experiments/digits.toml").read_bytes()
SEARCH = (Path(__file__).parents[1] / "scripts/experiments/search_digits.toml").read_bytes()
RESULTS = json.dumps({"key": "a", "name": "b", "summary": {"test": 0.1}}).encode() + b"\n"
SPEEDS = b'{}\n{"shape": "2,2,2", "name": "floor", "train_over_floor": 1, "infer_over_floor": 1}\n'
READERS = {
    "experiment": (EXPERIMENT, read_experiment),
    "search": (SEARCH, read_search),
    "results": (RESULTS, read_lines),
    "speeds": (SPEEDS, speed._read),
}


@FUZZ
@given(st.sampled_from(sorted(READERS)), damages())
def test_a_damaged_text_is_read_or_is_refused(name, damage):
    content, read = READERS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(damage(content))
        works_or_is_refused(lambda: read(path))


# (c) Arguments of the library.

D, IN, B, T = 4, 3, 2, 5
ENERGY, SGD = sbo.Residual(jnp.tanh), sbo.sgd(0.1)
THETA = sbo.Dense.init(jax.random.key(0), D)
XS = np.linspace(-1, 1, B * T * IN, dtype=np.float32).reshape(B, T, IN)
ANYTHING = [
    *(None, True, 0, -1, 2, 2.5, 10**18, math.nan, "a", "", [], [1], [[1.0, 2.0]], (), {}),
    *(object(), jnp.ones(()), jnp.ones(3), np.ones((B, T)), XS, XS.tolist(), XS + 1j, XS > 0),
    *(XS.astype(int), XS.astype(np.float64), XS[:, :0], XS[:0], np.full((B, T, IN), np.nan)),
    *(np.ones((T, B, D)), jnp.zeros((B, D)), THETA, ENERGY, SGD, optax.lbfgs(), sbo.STABLE),
    *(sbo.Unrolled(), sbo.Parallel(), sbo.Fixed(0.1), nnx.Rngs(0), jnp.tanh, int, np.array(["a"])),
    *(np.ones((B, T), bool), np.array([1, 2]), np.array([9, 2]), b"a", float, 1 + 1j, range(3)),
]
# A good value of every argument; one or two of them are replaced.
CALLS = {
    "SBORNN": (
        lambda **o: sbo.SBORNN(**o)(XS),
        {
            "in_features": IN,
            "hidden_features": D,
            "num_layers": 1,
            "dropout": 0.0,
            "lower": sbo.STABLE,
            "rollout": sbo.Unrolled(),
            "dtype": None,
            "rngs": nnx.Rngs(0),
        },
    ),
    "SBORNN call": (
        lambda inputs, **o: sbo.SBORNN(IN, D, rngs=nnx.Rngs(0))(inputs, **o),
        {"inputs": XS, "initial_carry": None, "seq_lengths": None, "mask": None},
    ),
    "SBOCell": (
        lambda inputs, carry, **o: cell_call(inputs, carry, **o),
        {"inputs": XS[:, 0], "carry": "fresh", "in_features": IN, "inner_steps": 1},
    ),
    "head": (
        lambda inputs, seq_lengths, mask, **o: sbo.SequenceClassifier(**o).predict(
            inputs, seq_lengths=seq_lengths, mask=mask
        ),
        {
            "inputs": XS,
            "seq_lengths": None,
            "mask": None,
            "rnn": sbo.SBORNN(IN, D, rngs=nnx.Rngs(0)),
            "hidden_features": D,
            "out_features": 2,
            "rngs": nnx.Rngs(0),
        },
    ),
    "unroll": (
        lambda **o: sbo.unroll(**o)[1],
        {
            "problem": ENERGY,
            "solver": SGD,
            "h0": jnp.zeros((B, D)),
            "us": jnp.ones((T, B, D)),
            "theta": THETA,
            "mask": None,
            "inner_steps": 1,
            "remat_chunk": None,
        },
    ),
    "unroll_parallel": (
        lambda **o: unroll_parallel(**o)[1],
        {
            "problem": ENERGY,
            "solver": SGD,
            "h0": jnp.zeros((B, D)),
            "us": jnp.ones((T, B, D)),
            "theta": sbo.Diagonal.init(jax.random.key(0), D),
            "mask": None,
        },
    ),
    "solve_implicit": (
        lambda **o: sbo.solve_implicit(**o)[0],
        {
            "problem": ENERGY,
            "solver": SGD,
            "h0": jnp.zeros((B, D)),
            "u": jnp.ones((B, D)),
            "theta": THETA,
            "num_steps": 2,
            "damping": 1.0,
            "tolerance": 1e-4,
        },
    ),
    "rollouts": (
        lambda **o: sbo.SBORNN(IN, D, rollout=sbo.StepEquilibrium(**o), rngs=nnx.Rngs(0))(XS),
        {"num_steps": 2, "damping": 0.1, "tolerance": 1e-4},
    ),
}


def cell_call(inputs, carry, **options):
    cell = sbo.SBOCell(hidden_features=D, rngs=nnx.Rngs(0), **options)
    fresh = cell.initialize_carry((B, IN))
    return cell(fresh if isinstance(carry, str) and carry == "fresh" else carry, inputs)[1]


@st.composite
def calls(draw):
    name = draw(st.sampled_from(sorted(CALLS)))
    names = st.lists(st.sampled_from(sorted(CALLS[name][1])), min_size=1, max_size=2, unique=True)
    return name, {n: draw(st.sampled_from(range(len(ANYTHING)))) for n in draw(names)}


@FUZZ
@given(calls())
def test_arguments_are_taken_or_are_refused(call):
    name, chosen = call
    function, arguments = CALLS[name]
    given_ = {n: ANYTHING[number] for n, number in chosen.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = works_or_is_refused(lambda: function(**arguments | given_))
    if result is not None and not any(has_nan(value) for value in given_.values()):
        assert np.isfinite(np.asarray(result)).all()


def has_nan(value):
    try:
        return bool(np.isnan(np.asarray(value, float)).any())
    except (TypeError, ValueError):
        return False
