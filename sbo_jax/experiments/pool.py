"""Runs in processes of their own, several at once, each with its part of the machine.

A run that crashes, or fills the memory, takes no other with it, and the parent never touches a
device that a run needs.
"""

import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar

from ..devices.stopping import StopRequest

_Job = TypeVar("_Job")

# How often the parent looks who is done and whether it is asked to stop.
_LOOK_SECONDS = 0.2
_GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class MachinePart:
    """Part `index` of `count` of this machine's cores, and of the GPUs that its user named."""

    index: int = 0
    count: int = 1

    def take(self) -> None:
        """Leave the rest to others; to be called before JAX looks for devices."""
        if self.count == 1:
            return
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, self._of(sorted(os.sched_getaffinity(0))))
        if os.environ.get(_GPUS):
            os.environ[_GPUS] = ",".join(self._of(os.environ[_GPUS].split(",")))

    def _of(self, things: Sequence) -> Sequence:
        """Every `count`-th one; where there are too few, one that others use as well."""
        return things[self.index :: self.count] or [things[self.index % len(things)]]


@dataclass(frozen=True)
class Running(Generic[_Job]):
    """A job, where it runs, and its process."""

    job: _Job
    part: MachinePart
    process: BaseProcess


def run_all(
    jobs: Iterable[_Job | None],
    target: Callable[[_Job, MachinePart], None],
    *,
    at_once: int,
    stop: StopRequest,
    on_end: Callable[[_Job, int | None], None],
) -> None:
    """`target(job, part)` for every job, `at_once` of them at a time.

    Jobs are drawn when there is a place for one; None says that there is none at the moment.
    ``on_end(job, exit code)`` is called here as each one ends. When asked to stop, SIGTERM goes to
    those that run, they are waited for, and nothing more is started.
    """
    waiting, running = iter(jobs), list[Running[_Job]]()
    free = deque(MachinePart(index, at_once) for index in range(at_once))
    more = True
    try:
        while running or (more and not stop.signal):
            while more and free and not stop.signal:
                try:
                    job = next(waiting)
                except StopIteration:
                    more = False
                    break
                if job is None:
                    break
                running.append(_start(job, free.popleft(), target))
            time.sleep(_LOOK_SECONDS)
            for one in [one for one in running if not one.process.is_alive()]:
                running.remove(one)
                free.append(one.part)
                on_end(one.job, one.process.exitcode)
            if stop.signal:
                _end(running)
    finally:
        _end(running)


def _start(
    job: _Job, part: MachinePart, target: Callable[[_Job, MachinePart], None]
) -> Running[_Job]:
    process = multiprocessing.get_context("spawn").Process(target=target, args=(job, part))
    process.start()
    return Running(job, part, process)


def _end(running: Sequence[Running[_Job]]) -> None:
    for one in running:
        one.process.terminate()
    for one in running:
        one.process.join()
