"""Workers that share a folder, killed, paused and stopped at random: by hand, or by test_join.py.

`python tests/on_workers.py --out OUT --kills 100` does by hand what the test does less often. A
cell takes milliseconds here, in a process that is forked, and no figures are drawn; all else is
what `benchmark.py run --join` does. Every machine has a clock of its own.
"""

import os
import random
import signal
import sys
import time
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import tyro

from sbo_jax.disk.text import replace_text
from sbo_jax.experiments import join, pool, run
from sbo_jax.experiments.file import Cell, Experiment
from sbo_jax.experiments.process import folder_of, write_result
from sbo_jax.experiments.report import files
from sbo_jax.runs.config import TrainConfig

STEPS = 5
WHERE = {"commit": "abc", "device": "cpu", "platform": "here", "versions": {"jax": "1"}}
# Of a worker: done, killed, or stopped, before it could hear of it or after.
ENDS = {0, -signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM}


def cells(count):
    return [Cell("row", "row", TrainConfig.of(seed=seed)) for seed in range(count)]


def summary(seed):
    """What a cell of this seed comes to."""
    common = {"metric": "mse", "model": "lstm", "parameters": 1, "seconds": 0.1, "epochs": STEPS}
    if seed % 7 == 6:
        return common | {"stopped": "the training loss became nan", "test": None}
    return common | {"test": 1.0 + seed, "best_validation": 2.0 + seed}


def steps(cell, part=None):
    """A cell that goes on from the step that it has reached, as training does."""
    reached = folder_of(cell) / "reached"
    first = int(reached.read_text()) if reached.exists() else 0
    for step in range(first + 1, STEPS + 1):
        time.sleep(random.uniform(0, 0.02))
        replace_text(reached, str(step))
    write_result(cell, summary(cell.config.run.seed), WHERE)


def start_forked(job, part, target):
    process = get_context("fork").Process(target=quietly, args=(target, job, part))
    process.start()
    return pool.Running(job, part, process)


def quietly(target, job, part):
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        target(job, part)
    except OSError:  # the folder has another owner
        os._exit(1)
    os._exit(0)


def work(experiment, out, lease, at_once):
    """What one worker does, on a machine whose clock is wrong."""
    offset, clock = random.Random(os.getpid()).uniform(-1e6, 1e6), time.time
    time.time = lambda: clock() + offset
    run.read_experiment = lambda path: experiment
    files._draw = lambda *_: None
    join.train_cell, pool._start, pool._LOOK_SECONDS = steps, start_forked, 0.005
    log = os.open(out.with_name(f"{out.name}.{os.getpid()}.log"), os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    config = run.RunConfig(Path("x.toml"), join=True, lease=lease, at_once=at_once, out=out)
    os._exit(run.run(config))


@dataclass
class Crowd:
    """Workers, of which one that ends early is replaced."""

    count: int
    arguments: tuple
    pids: set = field(default_factory=set)
    codes: list = field(default_factory=list)

    def fill(self):
        while len(self.pids) < self.count:
            if (pid := os.fork()) == 0:
                try:
                    work(*self.arguments, random.choice([1, 2]))
                finally:
                    os._exit(3)
            self.pids.add(pid)

    def reap(self):
        """Take in those that have ended."""
        for pid in list(self.pids):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self.pids.remove(pid)
                self.codes.append(os.waitstatus_to_exitcode(status))


def main(
    out: Path,
    workers: int = 8,
    count: int = 30,
    kills: int = 12,
    lease: float = 1.0,
    seed: int = 0,
    timeout: float = 120.0,
) -> int:
    random.seed(seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    crowd = Crowd(workers, (Experiment("Many", cells(count), None), out, lease))
    crowd.fill()
    for _ in range(kills):
        time.sleep(random.uniform(0, 0.2))
        pid = random.choice(sorted(crowd.pids))
        kind = random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
        os.kill(pid, kind)
        if kind == signal.SIGSTOP:  # and goes on when its lease has ended
            time.sleep(random.choice([0.0, 1.2 * lease]))
            os.kill(pid, signal.SIGCONT)
        crowd.reap()
        crowd.fill()
    deadline = time.monotonic() + timeout
    while crowd.pids and time.monotonic() < deadline:
        time.sleep(0.02)
        crowd.reap()
    for pid in crowd.pids:
        os.kill(pid, signal.SIGKILL)
    print(f"exit codes {sorted(crowd.codes)}, {len(crowd.pids)} workers did not end")
    return len(crowd.pids) or not ENDS.issuperset(crowd.codes)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
