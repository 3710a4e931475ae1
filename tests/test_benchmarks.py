"""The benchmarks: what they time is what they say, and a run as a user meets it."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

import sbo_jax
from sbo_jax import SBOCell, plots
from sbo_jax.benchmarks import choices as choices_module
from sbo_jax.benchmarks import flow as flow_module
from sbo_jax.benchmarks import relaxations as relaxations_module
from sbo_jax.benchmarks import timing
from sbo_jax.benchmarks.choices import ChoicesConfig, _automatic, benchmark_choices, rollouts
from sbo_jax.benchmarks.contenders import GRID, Shape, floor, jax_contenders
from sbo_jax.benchmarks.flow import LEVELS, FlowConfig, benchmark_flow
from sbo_jax.benchmarks.relaxations import RelaxationsConfig, benchmark_relaxations
from sbo_jax.benchmarks.speed import SpeedConfig, benchmark_speed, changes, table
from sbo_jax.benchmarks.stream import StreamConfig, benchmark_stream, streamings
from sbo_jax.benchmarks.stream import table as stream_table
from sbo_jax.benchmarks.torch_peers import torch_contenders
from sbo_jax.nn import cell_gradient_flow
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.folder.run_folder import RunFolder
from sbo_jax.runs.preparation import prepare
from sbo_jax.runs.run import train
from sbo_jax.stability.flow import flow_ratio

SMALL = Shape(5, 3, 8)


def test_medians_take_turns_and_count_the_second_of_two_calls(monkeypatch):
    clock, calls = [0.0], []

    def work(name, seconds):
        def thunk():
            calls.append(name)
            clock[0] += seconds * (10 if calls[-2:-1] != [name] else 1)  # slow when taking over

        return thunk

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    thunks = {"a": work("a", 1.0), "b": work("b", 2.0)}
    assert timing.medians(thunks, seconds=0.0) == {"a": 1.0, "b": 2.0}
    assert calls == ["a", "a", "b", "b"] * 4  # one round to warm up, three to count


def test_a_slow_first_call_takes_no_rounds_away(monkeypatch):
    clock, calls = [0.0], []

    def compiled_when_called():
        calls.append(0)
        clock[0] += 100.0 if len(calls) == 1 else 0.5

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    timing.medians({"a": compiled_when_called}, seconds=10.0, max_rounds=30)
    assert len(calls) == 2 * (1 + 10)


def test_more_time_buys_more_rounds_up_to_a_limit():
    counts = []
    for seconds in (0.0, 1e9):
        calls = []
        timing.medians({"a": lambda calls=calls: calls.append(0)}, seconds=seconds, max_rounds=7)
        counts.append(len(calls))
    assert counts == [2 * (1 + 3), 2 * (1 + 7)]


@pytest.mark.parametrize("name", ["sbo low_rank nesterov", "flax OptimizedLSTMCell"])
def test_a_contender_trains_and_infers_and_knows_its_size(name):
    contender = jax_contenders()[name](SMALL)
    _, info = contender.train()
    assert np.isfinite(info.loss)
    totals, _ = contender.infer()
    assert totals.num_samples == SMALL.B
    assert contender.parameters > 0
    assert contender.compile_seconds > 0


def test_memories_take_part_where_the_width_holds_them():
    for name in ("recall chunked", "recall unrolled"):
        build = jax_contenders()[name]
        assert build(SMALL) is None
        _, info = build(Shape(5, 2, 128)).train()
        assert np.isfinite(info.loss)


def test_every_operator_and_solver_takes_part():
    assert sum(name.startswith("sbo ") for name in _without_kernels(jax_contenders())) == 4 * 3 + 2


def test_kernels_take_part_where_a_gpu_runs_them(monkeypatch):
    for backend, count in (("cpu", 0), ("gpu", 3 * 3)):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        builds = jax_contenders()
        assert len(builds) - len(_without_kernels(builds)) == count
    assert builds["sbo dense sgd fused"](Shape(5, 3, 256)) is None  # no multiprocessor holds it
    assert builds["sbo scalar sgd fused"](Shape(5, 3, 48)) is None


def _without_kernels(builds):
    return [name for name in builds if not name.endswith(" fused")]


def test_the_floor_is_the_chain_of_products():
    chain, weights = floor(SMALL).train()
    assert chain.shape == (SMALL.B, SMALL.D)
    assert weights.shape == (SMALL.D, SMALL.D)


def test_torch_takes_part_where_it_is_installed():
    pytest.importorskip("torch")
    contender = torch_contenders()["torch LSTM"](SMALL)
    contender.train()
    contender.infer()
    assert contender.parameters == 4 * (9 * 8 + 8 * 8 + 2 * 8) + 8 * 6 + 6


@pytest.mark.slow
def test_a_run_as_a_user_meets_it(tmp_path):
    root = Path(__file__).parents[1]
    command = [sys.executable, str(root / "scripts" / "benchmark.py"), "speed"]
    options = ["--shapes", "4,2,8", "--only", "sbo scalar sgd", "--seconds", "0"]
    options += ["--devices", "1", "2"]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu"}
    out = str(tmp_path / "speed.jsonl")
    first = subprocess.run(
        [*command, *options, "--out", out],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env=environment,
    )
    assert "sbo scalar sgd" in first.stdout
    here, *rows = (json.loads(line) for line in Path(out).read_text().splitlines())
    assert here["threads"] >= 1
    names = ["floor", "floor, 2 devices", "sbo scalar sgd", "sbo scalar sgd, 2 devices"]
    assert [row["name"] for row in rows] == names
    assert rows[0]["train_over_floor"] == 1
    for row, own in zip(rows[2:], rows[:2], strict=True):
        assert row["train_over_own_floor"] == pytest.approx(row["train_ms"] / own["train_ms"])
    again = subprocess.run(
        [*command, *options, "--compare", out],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env=environment,
    )
    assert "changed by 5 % or more" in again.stdout


def row(name, train, infer=1.0):
    times = {"train_ms": 10 * train, "infer_ms": 10 * infer, "compile_s": None, "temp_mib": None}
    ratios = {"train_over_floor": train, "train_over_own_floor": train, "infer_over_floor": infer}
    return {"shape": "1,1,1", "name": name} | times | ratios


def test_a_comparison_names_what_changed_and_nothing_else():
    before = {("1,1,1", "a"): row("a", 2.0), ("1,1,1", "b"): row("b", 2.0)}
    now = [row("a", 2.05), row("b", 3.0), row("c", 1.0)]
    assert list(changes(now, before))[1:] == ["  b, train: 2.00 -> 3.00"]


def test_a_table_has_the_ratio_to_torchs_lstm():
    lines = table([row("floor", 1.0), row("torch LSTM", 4.0)]).splitlines()
    assert lines[2].split("|")[5].strip() == "0.25"


@pytest.mark.parametrize(
    "change",
    [
        {"shapes": ("1,2",)},
        {"shapes": ("0,1,1",)},
        {"shapes": ("²,1,1",)},
        {"only": ("sbo cubic",)},
        {"devices": (0,)},
        {"devices": (1, 99)},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"seconds": -1.0},
        {"compare": "none.jsonl"},
        {"compare": "other.jsonl"},
        {"out": "."},
        {"out": "none/x.jsonl"},
    ],
)
def test_bad_input_is_refused_in_one_sentence(change, capsys, tmp_path):
    (tmp_path / "other.jsonl").write_text('{}\n{"shape": "2,2,2", "name": "floor"}\n')
    paths = {name: tmp_path / change[name] for name in ("compare", "out") if name in change}
    assert benchmark_speed(SpeedConfig(**change | paths)) == 2
    assert capsys.readouterr().err.startswith("benchmark.py: expected")


OLD = """{}
{"shape": "%s", "name": "floor", "train_over_floor": %s, "infer_over_floor": 1}
"""


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("", "got others"),
        (OLD % ("3,3,3", "1"), "got others"),
        (OLD % ("2,2,2", "0"), "ZeroDivisionError"),
        (OLD % ("2,2,2", '"x"'), "TypeError"),
    ],
)
def test_a_file_that_nothing_can_be_compared_with_is_refused_before_measuring(
    lines, words, capsys, tmp_path
):
    (tmp_path / "old.jsonl").write_text(lines)
    assert benchmark_speed(SpeedConfig(shapes=("2,2,2",), compare=tmp_path / "old.jsonl")) == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_streams_tell_the_time_of_a_push_and_of_the_step_in_it(tmp_path, capsys):
    out = tmp_path / "lines.jsonl"
    assert benchmark_stream(StreamConfig(hidden=(8,), pushes=2, seconds=0.0, out=out)) == 0
    here, *rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert here["cores"] >= 1
    assert {row["name"] for row in rows} >= {"sbo stable", "sbo paper", "flax OptimizedLSTMCell"}
    for row in rows:
        assert row["pushes_per_second"] == pytest.approx(1e6 / row["push_us"])
        assert row["step_us"] > 0
    assert stream_table(rows) in capsys.readouterr().out


def test_what_is_timed_answers_step_by_step(rng):
    for streaming in streamings(8).values():
        answers = {streaming.push(x) for x in 10 * rng.normal(size=(20, 9))}
        assert answers <= {"walk", "up", "down", "sit", "stand", "lie"}
        first, second = (streaming.step(np.ones((1, 9), np.float32)).copy() for _ in range(2))
        assert first.shape == (1, 6)
        assert not np.array_equal(first, second)  # the state has moved


@pytest.mark.parametrize("change", [{"hidden": (0,)}, {"pushes": 0}, {"seconds": -1.0}])
def test_streams_refuse_what_cannot_be(change, capsys):
    assert benchmark_stream(StreamConfig(**change)) == 2
    assert capsys.readouterr().err.startswith("benchmark.py: expected")


def test_every_choice_is_another_program():
    for num_steps in (1, 2, 3, 16, 17, 128, 784):
        chunks = [choice.remat_chunk for choice in rollouts(num_steps).values()]
        assert sum(chunk >= num_steps for chunk in chunks) == 2  # all kept, one turn or four


def test_the_automatic_choice_is_one_of_those_compared():
    for shape in map(Shape.parse, (*GRID, "3,2,16", "1,1,16", "10000,64,128")):
        assert _automatic(shape) in rollouts(shape.T)


@pytest.mark.slow
def test_choices_tell_time_and_memory_of_every_way_to_unroll(tmp_path, capsys):
    config = ChoicesConfig(
        shapes=("20,3,16",), operators=("dense",), solvers=("sgd",), seconds=0.1, out=tmp_path / "c"
    )
    assert benchmark_choices(config) in (0, 1)  # on a busy machine anything may be the fastest
    _, *rows = [json.loads(line) for line in (tmp_path / "c").read_text().splitlines()]
    assert [row["choice"] for row in rows] == list(rollouts(20))
    assert min(row["over_best"] for row in rows) == 1
    assert [row["choice"] for row in rows if row["automatic"]] == ["keep all"]
    assert all(row["train_ms"] > 0 and row["temp_mib"] > 0 for row in rows)
    if sys.platform == "linux":
        assert all(row["peak_mib"] > 0 for row in rows)


def test_a_slow_automatic_choice_is_a_failure_unless_it_saves_memory(monkeypatch):
    row = {
        "shape": "20,3,16",
        "operator": "dense",
        "solver": "sgd",
        "choice": "keep all",
        "automatic": True,
        "saves_memory": False,
        "train_ms": 2.0,
        "over_best": 1.2,
        "temp_mib": 1.0,
        "peak_mib": None,
    }
    for change, expected in (
        ({}, 1),
        ({"over_best": 1.04}, 0),
        ({"automatic": False}, 0),
        ({"saves_memory": True}, 0),
    ):
        changed = row | change
        monkeypatch.setattr(choices_module, "measure", lambda *_, row=changed: iter([row]))
        assert benchmark_choices(ChoicesConfig(shapes=("20,3,16",))) == expected


@pytest.mark.parametrize(
    "change",
    [{"shapes": ("1,2",)}, {"operators": ("dens",)}, {"operators": ()}, {"solvers": ("adam",)}],
)
def test_choices_refuse_what_does_not_exist(change, capsys):
    assert benchmark_choices(ChoicesConfig(**change)) == 2
    assert "expected" in capsys.readouterr().err


@pytest.mark.slow
def test_relaxed_training_is_drawn_against_constant_lambdas_and_told_of_growing_ones(
    tmp_path, monkeypatch
):
    plan = relaxations_module._runs
    small = {"hidden": 4, "train_fraction": 0.1}

    def few(config):
        kept = [run for run in plan(config) if run.method.training in ("bptt", "penalty")]
        return (run.changed(**small) for run in kept if run.layer.model == "rnn")

    monkeypatch.setattr(relaxations_module, "_runs", few)
    out = tmp_path / "lines.jsonl"
    config = RelaxationsConfig(penalties=(1.0,), lengths=(16,), epochs=1, out=out)
    assert benchmark_relaxations(config) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()[1:]]
    runs = [line for line in lines if line["kind"] == "accuracy"]
    penalties = [(run["penalty"], run["penalty_growth"]) for run in runs]
    assert penalties == [(None, None), (1.0, 1.0), (None, None)]
    assert all(run["residual_mean"] > 0 for run in runs if run["training"] == "penalty")
    memory = {line["training"]: line["temp_mib"] for line in lines[len(runs) :]}
    assert memory["penalty"] > memory["bptt"] > memory["bptt, rematerialised"] > 0
    accuracy, _ = plots.relaxations(lines).axes
    drawn = [line for line in accuracy.lines if line.get_label() == "penalty, true"]
    assert [list(line.get_xdata()) for line in drawn] == [[1.0]]
    assert out.with_suffix(".png").stat().st_size > 1000


def test_relaxations_refuse_a_lambda_that_cannot_be(capsys):
    assert benchmark_relaxations(RelaxationsConfig(penalties=(-1.0,))) == 2
    assert "-1" in capsys.readouterr().err


def test_flows_of_starts_are_those_of_their_cells(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(flow_module, "DRAWS", {1: 2, 3: 1})
    monkeypatch.setattr(flow_module, "LEVELS", {name: LEVELS[name] for name in list(LEVELS)[:2]})
    monkeypatch.setattr(flow_module, "FLAX", {"SimpleCell": "rnn"})
    config = FlowConfig(steps=300, hidden=6, out=tmp_path / "flow.jsonl")
    assert benchmark_flow(config) == 0
    told, said = capsys.readouterr().out, (tmp_path / "flow.jsonl").read_text()
    _, *rows = [json.loads(line) for line in said.splitlines()]
    assert [row["model"] for row in rows[::3]] == [*list(LEVELS)[:2], "SimpleCell"]
    assert all(row["ratio"] is None or row["ratio"] > 1e3 for row in rows[6:])
    low, high = sorted(row["ratio"] for row in rows[:2])
    assert (
        f"| PAPER | {low:.3g} to {high:.3g} (2 draws) | {rows[2]['ratio']:.3g} (1 draws) |" in told
    )
    for row in (rows[1], rows[5]):
        name, width, draw = row["model"], row["d"], row["draw"]
        cell = SBOCell(width, 6, lower=LEVELS[name], rngs=nnx.Rngs(draw))
        xs = jax.random.normal(jax.random.key(1000 + draw), (300, 8, width))
        norms = jax.jit(lambda xs, cell=cell: cell_gradient_flow(cell, xs, select=lambda c: c.h))(
            xs
        )
        assert row["ratio"] == pytest.approx(float(flow_ratio(norms)), rel=1e-3)


def test_flows_of_runs_are_those_of_their_models(tmp_path, capsys):
    config = TrainConfig.of(hidden=6, train_fraction=0.1, epochs=1)
    with RunFolder(tmp_path / "run") as folder:
        train(prepare(config), folder)
    assert benchmark_flow(FlowConfig((tmp_path / "run",), 40, out=tmp_path / "flow.jsonl")) == 0
    _, *rows = [json.loads(line) for line in (tmp_path / "flow.jsonl").read_text().splitlines()]
    assert [row["draw"] for row in rows] == list(range(8))
    cell = sbo_jax.load(tmp_path / "run").model.rnn.cells[0]
    xs = jax.random.normal(jax.random.key(1003), (40, 8, 1))
    norms = jax.jit(partial(cell_gradient_flow, cell, select=lambda carry: carry.h))(xs)
    assert rows[3]["ratio"] == pytest.approx(float(flow_ratio(norms)), rel=1e-3)
    assert f"| {tmp_path}/run | " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (FlowConfig(steps=1), "expected steps >= 2, got 1"),
        (FlowConfig(hidden=0), "expected hidden >= 1, got 0"),
        (FlowConfig((Path("nowhere"),)), "nowhere"),
    ],
)
def test_a_flow_of_nothing_is_refused(config, expected, capsys):
    assert benchmark_flow(config) == 2
    assert expected in capsys.readouterr().err
