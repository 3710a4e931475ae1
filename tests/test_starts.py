"""What a start can be asked beside training: to keep compiled programs, and to record steps."""

import json
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from sbo_jax.devices.compilation_cache import KeptPrograms
from sbo_jax.experiments.file import Cell
from sbo_jax.experiments.run import RunConfig
from sbo_jax.runs import sweep_command
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.config.train import profiled_steps
from sbo_jax.runs.train_command import run_command_line
from sbo_jax.runs.watching.reporters import Profile
from sbo_jax.training.losses import STEPS_PER_LOOK

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
import benchmark


@pytest.fixture
def own_cache():
    """What a start changes is changed back."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def compile_anew(number):
    """A program that this process has not compiled yet, the same for the same number."""

    def program(x):
        return x * number

    return jax.jit(program)(jnp.ones(3))


def test_what_one_start_compiles_the_next_one_finds(own_cache, tmp_path, rng):
    number = float(rng.uniform())
    first = KeptPrograms(tmp_path / "programs")
    compile_anew(number)
    assert first.asked >= 1
    assert first.found == 0
    assert list((tmp_path / "programs").iterdir())
    second = KeptPrograms(tmp_path / "programs")
    compile_anew(number)
    assert second.found == second.asked >= 1
    assert f"{second.found} of {second.asked} compiled programs came from" in str(second)
    third = KeptPrograms(tmp_path / "others")
    compile_anew(number)
    assert third.found == 0 < third.asked


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1.26, "programs, which saved 1.3 s"),
        (0.01, "programs, which saved no time"),
        (-0.01, "programs, which saved no time"),
        (-0.21, "programs, which took 0.2 s longer to read than to compile"),
    ],
)
def test_programs_that_take_long_to_read_are_not_said_to_save_time(
    own_cache, tmp_path, seconds, words
):
    programs = KeptPrograms(tmp_path / "programs")
    programs.asked = programs.found = 2
    programs.seconds = seconds
    assert str(programs).endswith(words)


def test_without_a_folder_nothing_changes():
    before = jax.config.jax_compilation_cache_dir
    assert KeptPrograms(None).folder is None
    assert jax.config.jax_compilation_cache_dir == before


COMMANDS = {
    "train": (run_command_line, []),
    "sweep_eta": (sweep_command.run_command_line, []),
    "benchmark run": (benchmark.run_command_line, ["run", "some.toml"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_takes_no_programs_is_refused_in_one_sentence(
    name, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("some.toml").write_text("seeds = [0]")
    Path("file").touch()
    command, arguments = COMMANDS[name]
    assert command([*arguments, "--compilation-cache", "file/programs"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected a folder that can be written to for --compilation-cache" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "some.toml"]


def test_cells_of_an_experiment_keep_their_programs_in_one_folder(tmp_path):
    cell = Cell("a", "a", TrainConfig())
    config = RunConfig(Path("x.toml"), compilation_cache=tmp_path)
    assert config.placed(cell, tmp_path / "a").config.run.compilation_cache == tmp_path


def recorded(monkeypatch, tmp_path, asked, epoch_steps, epochs, done=0):
    """The steps that a loop dispatches while the profiler records, and what is said of them."""
    records, steps = [], []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda *_, **__: records.append(True))
    monkeypatch.setattr(jax.profiler, "stop_trace", records.pop)
    if done:
        (tmp_path / "checkpoints" / f"{done}").mkdir(parents=True, exist_ok=True)
    with Profile(asked, tmp_path) as profile:
        seen = done
        while seen < epoch_steps * epochs:
            left = epoch_steps - seen % epoch_steps
            look = list(range(seen + 1, seen + 1 + min(STEPS_PER_LOOK, left)))
            steps += look if records else []
            for step in look:
                profile.step(step, 0.0)
            seen = look[-1]
    assert not records
    return steps, str(profile)


def test_the_steps_that_were_asked_for_are_recorded_and_few_others(monkeypatch, tmp_path, rng):
    for _ in range(100):
        epoch_steps, epochs = (int(n) for n in rng.integers(1, 60, size=2))
        first, last = sorted(int(n) for n in rng.integers(1, epoch_steps * epochs + 1, size=2))
        asked = f"{first}:{last}"
        steps, told = recorded(monkeypatch, tmp_path, asked, epoch_steps, epochs)
        assert set(range(first, last + 1)) <= set(steps)
        assert steps[0] > first - STEPS_PER_LOOK
        assert steps[-1] < last + STEPS_PER_LOOK
        assert told == f"profile of steps {asked}: {tmp_path / 'profile'}"


def test_a_refit_whose_steps_count_anew_is_not_recorded(monkeypatch, tmp_path):
    begun = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda *_, **__: begun.append(True))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: None)
    with Profile("20:25", tmp_path) as profile:
        for step in [*range(1, 101), *range(1, 23)]:
            profile.step(step, 0.0)
    assert len(begun) == 1
    assert str(profile) == f"profile of steps 20:25: {tmp_path / 'profile'}"


def test_a_run_that_ends_or_begins_elsewhere_says_so(monkeypatch, tmp_path):
    steps, told = recorded(monkeypatch, tmp_path, "30:50", epoch_steps=20, epochs=2)
    assert (steps[-1], steps.count(30)) == (40, 1)
    assert told.startswith("profile of steps 30:50 up to 40, where training ended: ")
    steps, told = recorded(monkeypatch, tmp_path, "70:80", epoch_steps=20, epochs=2)
    assert (steps, told) == ([], "no profile: training ended before 70:80")
    steps, told = recorded(monkeypatch, tmp_path, "10:15", epoch_steps=20, epochs=2, done=20)
    assert steps == []
    assert told == "no profile: training went on at step 21, too late for 10:15"
    (tmp_path / "config.json").touch()  # it was stopped before its first checkpoint
    shutil.rmtree(tmp_path / "checkpoints")
    steps, _ = recorded(monkeypatch, tmp_path, "10:15", epoch_steps=20, epochs=2)
    assert {*range(10, 16)} <= set(steps)
    steps, _ = recorded(monkeypatch, tmp_path, "39:40", epoch_steps=20, epochs=2, done=20)
    assert {39, 40} <= set(steps)


@pytest.mark.parametrize("text", ["15:10", "0:3", "10", "10:", ":5", "-1:3", "a:b", "1:2:3", ""])
def test_a_range_that_is_none_is_refused(text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="expected FIRST:LAST"):
        profiled_steps(text)
    assert run_command_line([f"--profile={text}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected profile as FIRST:LAST, 1 <= FIRST <= LAST, got" in line
    assert list(tmp_path.iterdir()) == []


TINY = "--task adding --length 3 --hidden 2 --operator scalar --batch-size 640 --epochs 2 --out run"


def test_a_run_leaves_its_profile_in_its_folder_and_names_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_command_line([*TINY.split(), "--profile", "25:30"]) == 2
    assert "which has 20, got --profile 25:30; try --profile 1:16" in capsys.readouterr().err
    assert not Path("run").exists()
    assert run_command_line([*TINY.split(), "--profile", "5:8"]) == 0
    assert "profile of steps 5:8: run/profile" in capsys.readouterr().out
    kept = [path.name for path in Path("run/profile").rglob("*") if path.is_file()]
    assert "perfetto_trace.json.gz" in kept
    assert any(name.endswith(".xplane.pb") for name in kept)
    assert json.loads(Path("run/config.json").read_text())["config"]["profile"] == "5:8"
    assert run_command_line([*TINY.split(), "--resume"]) == 0
