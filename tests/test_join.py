"""`benchmark.py run --join`: many workers, one folder, every cell once.

Where a test trains nothing, what the process of a cell does is replaced, and done by the worker
itself; test_leases.py has the laws of what workers agree by.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import on_workers
import pytest

from sbo_jax.disk.claims import LEASE
from sbo_jax.disk.leases import held_folders, take, time_on
from sbo_jax.experiments import join, run
from sbo_jax.experiments.file import Experiment, read_experiment
from sbo_jax.experiments.process import folder_of, log_of, write_result
from sbo_jax.experiments.report import files

ROOT = Path(__file__).parents[1]


def inline(body):
    """A pool of one place, whose job is done at once."""

    def run_all(jobs, target, *, at_once, stop, on_end):
        for job in jobs:
            if job is not None:
                on_end(job, body(job))

    return run_all


def trained(cell):
    """What most cells come to; the exit code of their process."""
    folder_of(cell).mkdir(exist_ok=True)
    write_result(cell, on_workers.summary(cell.config.run.seed), on_workers.WHERE)
    return 0


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """Work on an experiment in a folder of its own, or in this one; what `body` does with cells."""
    monkeypatch.setattr(join, "_LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(
        files, "_draw", lambda *_: None
    )  # most of the time, and not the matter here

    def work(experiment, *, body=trained, out=tmp_path / "out", alone=False, **options):
        monkeypatch.setattr(run, "read_experiment", lambda path: experiment)
        for module in (join, run):
            monkeypatch.setattr(module, "run_all", inline(body))
        return run.run(run.RunConfig(Path("x.toml"), join=not alone, out=out, **options))

    return work


def many(count=9, title="Many"):
    return Experiment(title, on_workers.cells(count), None)


def rows(out):
    """Those of the report, without what depends on the clock."""
    found = json.loads((out / "report.json").read_text())["rows"]
    for row in found:
        for curve in row["curves"]:
            curve.pop("seconds", None)
    return found


def silence(cells, seconds=1e4):
    """All leases are as old as that."""
    for lease in cells.glob(f"*/{LEASE}"):
        last = time_on(cells) - seconds
        os.utime(lease, (last, last))


@pytest.mark.slow
def test_every_cell_is_in_the_report_once_whoever_is_killed_paused_or_stopped(tmp_path, rng):
    out, seed = tmp_path / "out", int(rng.integers(2**31))
    script = [sys.executable, on_workers.__file__, "--out", out, "--seed", seed]
    told = subprocess.run(list(map(str, script)), capture_output=True, text=True, check=False)
    logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert told.returncode == 0, f"{told.stdout}{told.stderr}{logs}"
    (row,) = rows(out)
    expected = {cell.config.run.seed: cell for cell in many(30).cells}
    tests = {seed: on_workers.summary(seed)["test"] for seed in expected}
    ended = {seed: test for seed, test in tests.items() if test is not None}
    assert Counter(row["seeds"]) == Counter(list(ended))
    assert dict(zip(row["seeds"], row["test"], strict=True)) == ended
    assert Counter(row["diverged"]) == Counter(list(tests.keys() - ended.keys()))
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert Counter(line["seed"] for line in lines) == Counter(list(expected))
    for cell in expected.values():
        assert (out / "cells" / cell.key / "reached").read_text() == str(on_workers.STEPS)


def test_the_report_of_many_is_that_of_one(shared, tmp_path):
    for name, options in {"one": {"alone": True}, "many": {}}.items():
        assert shared(many(), out=tmp_path / name, **options) == 0
    assert rows(tmp_path / "one") == rows(tmp_path / "many")
    one, several = ((tmp_path / name / "report.md").read_text() for name in ("one", "many"))
    assert one == several


def test_a_worker_that_is_killed_leaves_its_cell_to_the_next_after_its_lease(
    shared, tmp_path, monkeypatch
):
    class KilledError(BaseException):
        pass

    def half(cell):
        (folder_of(cell) / "half").touch()
        raise KilledError

    monkeypatch.setattr(join.Renewal, "__exit__", lambda self, *_: self._ended.set())
    with pytest.raises(KilledError):
        shared(many(2), body=half)
    (left,) = (tmp_path / "out/cells").glob("*/half")
    silence(tmp_path / "out/cells")
    seen = []

    def whole(cell):
        seen.append((folder_of(cell) / "half").exists())
        return trained(cell)

    assert shared(many(2), body=whole) == 0
    assert sorted(seen) == [False, True]
    (lost,) = (tmp_path / "out/cells").glob("*.lost.1")
    assert lost.read_text().startswith(f"process {os.getpid()} on ")
    assert lost.name.split(".")[0] == left.parent.name.split(".")[0]


@pytest.mark.parametrize("published", [True, False])
def test_who_lost_its_cell_does_not_count_it(shared, tmp_path, capsys, published):
    """The other one was killed before it published, or not; its number shows whose it is."""
    cells = tmp_path / "out/cells"

    def paused(cell):
        silence(cells)
        lease = take(cells / cell.key, 1, time_on(cells), 300.0)
        other = cell._replace(config=cell.config.changed(out=lease.path))
        write_result(other, on_workers.summary(0) | {"test": 77.0}, on_workers.WHERE)
        if published:
            assert lease.publish()
        else:
            silence(cells)  # it was killed before it could publish
        return 1

    assert shared(many(1), body=paused) == 0
    assert rows(tmp_path / "out")[0]["test"] == [77.0]
    assert "lost to another worker" in capsys.readouterr().out
    assert len((tmp_path / "out/results.jsonl").read_text().splitlines()) == 1


def test_a_cell_that_fails_is_tried_by_two_workers_and_by_no_third(shared, tmp_path, capsys):
    tried, code = [], []

    def one_bad(cell):
        seed = cell.config.run.seed
        tried.append(seed)
        if seed != 1:
            return trained(cell)
        log_of(cell).write_text("Traceback\nno data here\n")
        return 1

    for _ in range(3):
        code.append(shared(many(3), body=one_bad))
    assert code == [1, 1, 1]
    assert Counter(tried) == {0: 1, 1: 2, 2: 1}
    first, second, third = capsys.readouterr().out.split("# Many")[:3]
    assert "row, seed 1: failed with exit code 1: no data here" in first
    assert "the same command tries it once more" in first
    assert "given up; remove" in second
    assert "given up; remove" in third
    assert rows(tmp_path / "out")[0]["seeds"] == [0, 2]
    for path in (tmp_path / "out/cells").glob("*.failed.*"):
        assert "no data here" in path.read_text()
        path.unlink()
    assert shared(many(3)) == 0
    assert rows(tmp_path / "out")[0]["seeds"] == [0, 1, 2]


def test_a_cell_that_failed_here_and_silenced_the_next_is_not_waited_for(shared, tmp_path):
    cells, tried = tmp_path / "out/cells", []

    def fails(cell):
        tried.append(cell.key)
        if len(tried) == 2:  # while this one fails at another, somebody has taken the first
            assert take(cells / tried[0], 1, time_on(cells), 300.0)
            silence(cells)
            (lease,) = cells.glob(f"{cell.key}.1")
            (lease / LEASE).touch()
        return 1

    assert shared(many(2), body=fails) == 1
    assert Counter(tried) == {tried[0]: 2, tried[1]: 1}


def test_a_cell_that_silences_its_workers_is_given_up(shared, tmp_path, monkeypatch):
    monkeypatch.setattr(join, "_MOST_LOSSES", 3)
    cells, deaths = tmp_path / "out/cells", []

    def deadly(cell):
        if cell.config.run.seed:
            return trained(cell)
        deaths.append(held_folders(cells)[cell.key])
        silence(cells)  # and lost: another one takes it over
        lease = take(cells / cell.key, deaths[-1], time_on(cells), 300.0)
        silence(cells)
        (cells / f"{cell.key}.lost.{deaths[-1]}").write_text(lease.taken_from)
        return 1

    assert shared(many(3), body=deadly) == 1
    assert len(deaths) == 2
    assert len(list(cells.glob("*.lost.*"))) == 3
    assert rows(tmp_path / "out")[0]["seeds"] == [1, 2]


def test_a_diverged_cell_is_a_result(shared, tmp_path):
    seen = []

    def counted(cell):
        seen.append(cell.config.run.seed)
        return trained(cell)

    for _ in range(2):
        assert shared(many(7), body=counted) == 0
    assert sorted(seen) == list(range(7))
    assert rows(tmp_path / "out")[0]["diverged"] == [6]


def test_the_option_to_pick_is_picked_once_all_its_values_were_tried(shared, tmp_path):
    path = tmp_path / "some.toml"
    path.write_text('seeds = [0, 1]\npick = "upper_rate"\n[matrix]\nupper_rate = [0.1, 0.2, 0.3]\n')
    experiment = read_experiment(path)

    def better_where_larger(cell):
        rate = cell.config.upper.upper_rate
        summary = on_workers.summary(0) | {"best_validation": 1 - rate}
        write_result(cell, summary, on_workers.WHERE)
        return 0

    assert shared(experiment, body=better_where_larger) == 0
    (row,) = rows(tmp_path / "out")
    assert (row["name"], row["seeds"]) == ("upper_rate 0.3", [0, 1])
    done = (tmp_path / "out/results.jsonl").read_text().splitlines()
    assert len(done) == 4


def test_what_one_process_has_begun_many_go_on_with(shared, tmp_path):
    def first_two(cell):
        folder_of(cell).mkdir()
        (folder_of(cell) / "half").touch()
        return trained(cell) if cell.config.run.seed < 2 else 143

    assert shared(many(4), body=first_two, alone=True) == 1
    seen = {}

    def rest(cell):
        seen[cell.config.run.seed] = (folder_of(cell) / "half").exists()
        return trained(cell)

    assert shared(many(4), body=rest) == 0
    assert seen == {2: True, 3: True}
    assert rows(tmp_path / "out")[0]["seeds"] == [0, 1, 2, 3]


def test_a_folder_that_workers_share_is_refused_to_one_alone(shared, capsys):
    assert shared(many()) == 0
    capsys.readouterr()
    assert shared(many(), alone=True) == 2
    assert "add --join, or choose another one with --out" in capsys.readouterr().err
    assert shared(many(), alone=True, report=True) == 0


OTHERS = {
    "another file": (many(title="Others"), "its title is 'Others', and was 'Many'"),
    "a new cell": (many(10), "a cell that it adds, 'row' with seed 9"),
    "a cell less": (many(8), "a cell that it lacks, 'row' with seed 8"),
    "another option to pick": (
        many()._replace(pick="hidden"),
        "its pick is 'hidden', and was None",
    ),
    "another name": (
        many()._replace(cells=[cell._replace(name="other") for cell in many().cells]),
        "a cell named 'other', and was 'row'",
    ),
    "another published number": (
        many()._replace(cells=[cell._replace(published="95") for cell in many().cells]),
        "a cell with published '95', and was ''",
    ),
}


@pytest.mark.parametrize(("other", "words"), OTHERS.values(), ids=OTHERS)
def test_another_file_or_another_version_of_it_is_refused(shared, tmp_path, capsys, other, words):
    assert shared(many()) == 0
    capsys.readouterr()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert shared(other) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert "x.toml" in line
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    (tmp_path / "out/experiment.json").unlink()
    assert shared(other) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"join": True, "report": True}, "--join has no effect with --report"),
        ({"lease": 60.0}, "--lease has no effect without --join"),
        ({"join": True, "lease": 0.5}, "expected a finite lease >= 1 s, got 0.5"),
        ({"join": True, "lease": float("inf")}, "expected a finite lease >= 1 s, got inf"),
        ({"join": True, "lease": float("nan")}, "expected a finite lease >= 1 s, got nan"),
    ],
)
def test_what_has_no_effect_or_cannot_be_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        run.RunConfig(Path("x.toml"), **options).check()


REAL = """
seeds = [0, 1]
[shared]
task = "adding"
length = 3
hidden = 2
operator = "scalar"
batch_size = 640
epochs = 2
"""


def worker(folder, out, *options):
    command = [sys.executable, ROOT / "scripts/benchmark.py", "run", folder / "real.toml"]
    command += ["--out", out, *options]
    return subprocess.Popen(list(map(str, command)), stdout=-1, stderr=-1, text=True)


def children(process):
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


def wait_for(condition, seconds=300.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks Linux for children")
def test_real_cells_end_in_the_numbers_of_one_worker_after_one_was_killed(tmp_path):
    (tmp_path / "real.toml").write_text(REAL)
    out = tmp_path / "out"
    killed = worker(tmp_path, out, "--join", "--lease", "2", "--at-once", "2")
    wait_for(lambda: len(list(out.glob("cells/*/checkpoints"))) == 2)
    left = children(killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    joined = worker(tmp_path, out, "--join", "--lease", "2", "--at-once", "2")
    alone = worker(tmp_path, tmp_path / "alone", "--at-once", "2")
    wait_for(lambda: not any(Path("/proc", pid).exists() for pid in left))
    for process in (joined, alone):
        said, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, said + stderr
    assert rows(out) == rows(tmp_path / "alone")
    assert rows(out)[0]["seeds"] == [0, 1]
    assert len(rows(out)[0]["curves"]) == 2
