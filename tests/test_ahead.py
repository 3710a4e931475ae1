"""What is compiled for a machine that is not here, where the compiler of such a machine is."""

import json
import re
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from on_devices import BROKEN, faults

from sbo_jax.ahead import Machine, command, examine, machine, machines, programs, sweep_programs
from sbo_jax.ahead.command import run_command_line
from sbo_jax.ahead.hlo import structure
from sbo_jax.ahead.table import table
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.config.registry import PEERS
from sbo_jax.runs.preparation import prepare
from sbo_jax.runs.sweep import SweepConfig, prepare_sweep
from sbo_jax.tasks import outline

tpu = pytest.mark.tpu_compile
TOPOLOGY = "v5e:2x4"
DENSE_RELU = {
    "energy": "transition",
    "activation": "relu",
    "solver": "sgd",
    "eta": 1.0,
    "eta_kind": "fixed",
    "operator": "dense",
}
RUNS = {
    "stable": {},
    "dense sgd": {"operator": "dense", "solver": "sgd"},
    "language model": {"task": "ptb"},
    "parallel": {"operator": "diagonal", "rollout": "parallel"},
    **{
        name: {"preset": "equilibrium", "rollout": name}
        for name in ("sequence", "step", "streamed")
    },
    "penalty": {"training": "penalty"},
    "lagrangian": {"training": "lagrangian"},
    "bcd": {"training": "bcd", **DENSE_RELU},
    "lstm": {"model": "lstm"},
    "sharnn": {"model": "sharnn"},
    "recall": {"model": "recall", "layers": 2, "length": 200},
}
MORE = {
    "rematerialised": {"remat_chunk": 3},
    "dropout": {"layers": 2, "dropout": 0.5},
    "bfloat16": {"dtype": "bfloat16"},
    **{name: {"model": name} for name in PEERS if name not in RUNS},
}


@pytest.fixture(scope="module")
def there():
    """The machine; programs are compiled as they are outside of this suite."""
    pytest.importorskip("libtpu")
    usual = {
        "jax_disable_most_optimizations": False,
        "jax_default_matmul_precision": None,
    }
    before = {name: jax.config.values[name] for name in usual}
    for name, value in usual.items():
        jax.config.update(name, value)
    yield machine(TOPOLOGY)
    for name, value in before.items():
        jax.config.update(name, value)


def check_meets_once(there, options):
    """Each program meets once; a relaxed step, whose parts need one another, once or more."""
    small = {"task": "adding", "length": 12, "hidden": 16, "batch_size": 16}
    config = TrainConfig.of(**small | options)
    run = prepare(config, lambda data: outline(data.task, length=data.length), there.devices)
    verdicts = [examine(program, there) for program in programs(run)]
    assert [verdict.faults for verdict in verdicts] == [(), ()]
    for verdict in verdicts:
        kinds = [meeting.kind for meeting in verdict.structure.meetings if not meeting.around]
        assert set(kinds) == {"all-reduce"}
        assert verdict.structure.loops
        assert 0 < verdict.num_bytes < there.memory


@tpu
@pytest.mark.parametrize("name", RUNS)
def test_devices_of_a_tpu_meet_once_a_step_and_never_in_a_loop_over_time(there, name):
    check_meets_once(there, RUNS[name])


@tpu
@pytest.mark.parametrize("name", MORE)
def test_nor_do_they_for_any_other_model(there, name, pytestconfig):
    if not pytestconfig.getoption("--every-program"):
        pytest.skip("needs --every-program")
    check_meets_once(there, MORE[name])


@tpu
@pytest.mark.parametrize(("mesh", "count"), [(None, 0), ("sweep=2,data=4", 1)])
def test_cells_of_a_sweep_never_meet_and_their_shares_of_a_batch_once(there, mesh, count):
    options = {"task": "adding", "length": 12, "hidden": 16, "batch_size": 16}
    grid = SweepConfig(etas=(0.1, 0.2), mus=(0.0, 0.5), seeds=(0, 1), mesh=mesh)
    sweep = prepare_sweep(grid.changed(**options), devices=there.devices)
    for program in sweep_programs(sweep):
        verdict = examine(program, there)
        assert verdict.faults == ()
        assert len(verdict.structure.meetings) == count


@tpu
def test_a_state_lies_on_all_devices_and_what_a_sample_carries_where_it_is(there):
    config = TrainConfig.of(task="ptb", length=12, hidden=16, batch_size=16)
    run = prepare(config, lambda data: outline(data.task, length=data.length), there.devices)
    program = next(programs(run))
    parts = {
        name: {leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(tree)}
        for name, tree in program.arguments.items()
    }
    assert parts["params"] == parts["method_state"] == {True}
    assert parts["carry"] == parts["inputs"] == parts["weights"] == {False}


@tpu
@pytest.mark.parametrize(("name", "words"), [(name, words) for name, (_, words) in BROKEN.items()])
def test_a_step_for_a_tpu_that_meets_where_it_should_not_is_found_out(there, name, words):
    assert re.search(words, " ".join(faults(there.devices, BROKEN[name][0])))


@tpu
def test_the_command_says_what_every_program_does(there, capsys, tmp_path):
    options = f"--topology {TOPOLOGY} --task adding --length 12 --hidden 16 --batch-size 16"
    figures = ["--figures", str(tmp_path / "figures.jsonl"), "--hlo", str(tmp_path / "hlo")]
    assert run_command_line(["train", *options.split(), *figures]) == 0
    said = capsys.readouterr().out
    assert "8 x TPU v5 lite, 16 GiB each; mesh sweep=1, data=8" in said
    assert said.count("devices meet: all-reduce of") == 2
    assert "on every device: params" in said
    lines = [json.loads(line) for line in (tmp_path / "figures.jsonl").read_text().splitlines()]
    assert [line["program"] for line in lines[1:]] == ["training step", "evaluation step"]
    assert all(line["faults"] == [] for line in lines[1:])
    assert len(list((tmp_path / "hlo").iterdir())) == 2
    assert run_command_line(["table", figures[1]]) == 0
    *_, training, evaluation = capsys.readouterr().out.strip().splitlines()
    assert "`--task adding --length 12 --hidden 16 --batch-size 16` | training step" in training
    assert evaluation.endswith("| all-reduce |")


def test_a_program_that_the_compiler_finds_too_large_is_a_fault():
    class Huge:
        def lower(self, state, batch):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Ran out of memory on HBM")

    run = prepare(TrainConfig.of(task="adding", length=4, hidden=4, mesh="data=1"))
    program = next(programs(run))._replace(step=Huge())
    (fault,) = examine(program, Machine("here", jax.devices(), 2**30)).faults
    assert re.search(r"the 1 GiB of a device, got more \(RESOURCE_EXHAUSTED.*smaller batch", fault)


def test_loops_and_the_loops_around_them_are_read_from_a_program():
    """Nested scans whose lengths are known, and a loop that ends when it likes."""

    def inner(x, _):
        return jnp.sin(x), None

    def outer(x, _):
        return jax.lax.scan(inner, x, length=5)[0], None

    def program(x):
        x = jax.lax.scan(outer, x, length=7)[0]
        return jax.lax.while_loop(lambda x: jnp.any(x > 0.1), lambda x: x / 2, x)

    text = jax.jit(program).lower(jnp.ones(3)).compile().as_text()
    found = structure(text)
    assert sorted(found.loops, key=str) == [(7, 5), (7,), (None,)]
    assert found.meetings == ()


def test_arrays_in_a_result_are_counted_with_those_of_truth_values():
    result = "(f32[128,10]{1,0}, pred[64], bf16[2], f8e4m3fn[8], s4[4])"
    text = f"ENTRY %main (p: f32[]) -> f32[] {{\n  %a = {result} all-reduce(%p)\n}}"
    (meeting,) = structure(text).meetings
    assert meeting.num_bytes == 4 * 1280 + 64 + 2 * 2 + 8 + 2


def test_a_refit_has_the_programs_of_its_run_and_needs_no_samples(monkeypatch):
    asked = []

    def report(target, there, mesh, compiled, config):
        asked.append(" ".join(config.typed()))
        return len([*compiled]) - 2

    here = Machine("here", jax.devices()[:1], 2**30)
    monkeypatch.setattr(command, "machine", lambda *_: here)
    monkeypatch.setattr(command, "_report", report)
    options = "--task har2 --hidden 4 --refit"
    assert run_command_line(["train", "--topology", "here", *options.split()]) == 0
    assert asked == [options]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("v5e:2x4", "expected libtpu, .* try pip install 'jax\\[tpu]=="),
        ("gpu:8", "expected --gpu, XLA's description of the GPU.*h100_sxm.txtpb"),
        ("gpu:8 --gpu h100.txtpb", "expected jax-cuda12-plugin.*pip install jax-cuda12-plugin=="),
        ("gpu:8 --gpu setup.cfg", "expected a description of a GPU as in XLA's .*, got setup.cfg"),
        ("gpu:8 --gpu nowhere", "nowhere"),
        ("v5e:2x4 --gpu setup.cfg", "--gpu has no effect with --topology v5e:2x4"),
        ("h100:8", "expected a topology as in v5e:2x4 .* or gpu:8, got 'h100:8'"),
        ("v5e", "expected a topology as in v5e:2x4"),
    ],
)
def test_what_cannot_be_compiled_for_is_said_in_one_sentence(
    monkeypatch, tmp_path, capsys, options, words
):
    def absent(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(machines, "distribution", absent)
    monkeypatch.chdir(tmp_path)
    Path("setup.cfg").write_text("[metadata]")
    Path("h100.txtpb").write_text("gpu_device_info { device_memory_size: 84942979072 }")
    assert run_command_line(["train", "--topology", *options.split()]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(words, line)


@tpu
def test_a_slice_that_does_not_exist_is_refused(there):
    with pytest.raises(ValueError, match=r"expected a topology that exists, got 'v5e:3x5'"):
        machine("v5e:3x5")


def test_a_program_that_was_too_large_is_no_free_one_in_the_table(tmp_path):
    found = {"program": "training step", "memory": {}, "meetings": [], "seconds": 1.0}
    lines = [{"topology": "v5e:1x1", "options": ""}, found]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    last = table([tmp_path / "a.jsonl"]).strip().splitlines()[-1]
    assert last == "| v5e:1x1 | defaults | training step | 1.0 | too large to compile |  |"
