"""Several processes as one: they start together, fail together, and the first one writes.

`jax.distributed` brings them together. For a port that is taken, a host without an address or a
process that never comes, it aborts the process with a C++ stack trace, which no `except` catches:
addresses and ports are therefore probed first, and a timer ends the wait with a sentence.
"""

import os
import pickle
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

_Value = TypeVar("_Value")

# At the end all wait for the first, which may still be writing.
_SHUTDOWN_SECONDS = 60


@dataclass(frozen=True)
class Processes:
    """How this process finds the others; by default it is alone."""

    distributed: bool = False
    """this is one of several processes; a TPU pod, SLURM or MPI says which"""
    coordinator: str | None = None
    """elsewhere: HOST:PORT of process 0, the same in all, with the next two"""
    num_processes: int | None = None
    """how many there are"""
    process_id: int | None = None
    """which one this is, from 0"""
    start_timeout: int = 300
    """seconds to wait for the others"""

    def check(self) -> None:
        """ValueError for what is incomplete or contradicts itself."""
        by_hand = (self.coordinator, self.num_processes, self.process_id)
        if any(part is not None for part in by_hand) and None in by_hand:
            raise ValueError(
                "expected all of --coordinator, --num-processes and --process-id, or none of them"
            )
        if self.start_timeout < 1:
            raise ValueError(f"expected a start-timeout >= 1 s, got {self.start_timeout}; try 300")
        if self.num_processes is None or self.process_id is None:
            return
        if not 0 <= self.process_id < self.num_processes:
            raise ValueError(
                f"expected 0 <= process-id < num-processes, got {self.process_id} of "
                f"{self.num_processes}"
            )
        host, _, port = (self.coordinator or "").rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise ValueError(
                f"expected --coordinator HOST:PORT, got {self.coordinator!r}; ports end at 65535"
            )


ALONE = Processes()


def join(processes: Processes) -> None:
    """Find the others, before JAX looks for devices; does nothing for a process that is alone.

    Ends the process, with a sentence and code 2, if they are not all there in time.

    Raises:
      ValueError: anything wrong with `processes`, a port that is taken, a host without an address,
        or no cluster environment.
    """
    processes.check()
    if not (processes.distributed or processes.coordinator):
        return
    if processes.coordinator:
        host, _, port = processes.coordinator.rpartition(":")
        _check_address(host)
        if processes.process_id == 0:
            _check_free(int(port))
    timer = threading.Timer(processes.start_timeout, _give_up, [processes])
    timer.daemon = True
    timer.start()
    try:
        jax.distributed.initialize(
            processes.coordinator,
            processes.num_processes,
            processes.process_id,
            # Past its own time-out the runtime aborts the process: the timer comes first.
            initialization_timeout=processes.start_timeout + 60,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"--distributed found no cluster environment (TPU pod, SLURM or MPI); elsewhere give "
            f"--coordinator, --num-processes and --process-id (JAX: {_first_line(error)})"
        ) from error
    finally:
        timer.cancel()


def is_first() -> bool:
    """Whether this process is the one that writes, prints and draws."""
    return jax.process_index() == 0


def by_first(method: Callable[..., None]) -> Callable[..., None]:
    """The function, which the other processes leave to the first one."""

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> None:
        if is_first():
            method(*args, **kwargs)

    return call


@contextmanager
def leaving_with_the_others() -> Iterator[None]:
    """Ends a process, with a sentence and code 1, whose work with others failed within."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        _leave(
            f"process {jax.process_index()} had to stop: {_first_line(error)}; if another one is "
            f"gone, start all of them again with --resume",
            code=1,
        )


class ElsewhereError(OSError, ValueError):
    """What another process could not do."""


def together(action: Callable[[], _Value]) -> _Value:
    """`action` in every process; where one of them fails, all of them do.

    Raises:
      Exception: what `action` raised here, or `ElsewhereError` for that in another process.
    """
    if jax.process_count() == 1:
        return action()
    result, own = None, None
    try:
        result = action()
    except Exception as error:  # of any kind: the others would wait for this process
        own = error
    problems = from_all("" if own is None else str(own) or repr(own))
    if own is not None:
        raise own
    for index, problem in enumerate(problems):
        if problem:
            raise ElsewhereError(f"process {index}: {problem}")
    return result  # type: ignore[return-value]


def first_then_others(action: Callable[[], _Value]) -> _Value:
    """`action` in the first process, then in the others, who find what it left on a shared disk."""
    if is_first():
        try:
            return action()
        finally:
            _meet()
    _meet()
    return action()


def from_first(value: _Value) -> _Value:
    """What `value` is in the first process; pickled on the way, so that arrays keep every bit."""
    if jax.process_count() == 1:
        return value
    values: list[Any] = from_all(value if is_first() else None)
    return values[0]


def from_all(value: _Value) -> list[_Value]:
    """What `value` is in every process, in their order; pickled on the way."""
    if jax.process_count() == 1:
        return [value]
    data = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = multihost_utils.process_allgather(np.asarray(data.size))
    padded = np.zeros(max(sizes), np.uint8)
    padded[: data.size] = data
    rows = np.asarray(multihost_utils.process_allgather(padded))
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def _meet() -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("sbo_jax")


def _check_address(host: str) -> None:
    """ValueError for a name that nobody knows; the runtime would ask for it until the time-out."""
    try:
        socket.getaddrinfo(host.strip("[]"), None)
    except (OSError, UnicodeError) as error:
        raise ValueError(
            f"expected a host with an address in --coordinator, got {host!r} ({error}); try its IP "
            f"address"
        ) from error


def _check_free(port: int) -> None:
    """ValueError for a port that is taken; the runtime would not survive it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except (OSError, OverflowError) as error:
            raise ValueError(
                f"expected a free port for --coordinator, got {port} ({error}); try another one"
            ) from error


def _give_up(processes: Processes) -> None:
    where = processes.coordinator or "the cluster's coordinator"
    others = f"{processes.num_processes} processes" if processes.num_processes else "all processes"
    _leave(
        f"expected {others} at {where} within {processes.start_timeout} s, got no answer; "
        f"check that process 0 runs there, that nothing blocks the port, and --start-timeout",
        code=2,
    )


def _leave(sentence: str, *, code: int) -> None:
    """At once: at a usual exit the runtime would wait for the others, or abort."""
    print(f"{Path(sys.argv[0]).name}: {sentence}", file=sys.stderr, flush=True)
    os._exit(code)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error) else type(error).__name__
