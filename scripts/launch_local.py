"""Rehearse several processes on this machine: `python scripts/launch_local.py --help`."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from sbo_jax.devices.cores import usable_cores
from sbo_jax.devices.failures import in_one_sentence

Process = subprocess.Popen[bytes]

# How long processes get to end by themselves once one of them has failed.
_GRACE_SECONDS = 15.0


def launch(count: int, command: Sequence[str]) -> int:
    """Run the Python script `count` times and wait; the exit code of the first to fail, or 0.

    SIGTERM is handed on to all. So is Ctrl-C, but by the terminal.
    """
    # Processes that share a machine share its cores.
    cores = {"JAX_NUM_CPU_DEVICES": f"{max(1, usable_cores() // count)}"} | os.environ
    shared = ["--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", str(count)]
    running = [
        subprocess.Popen([sys.executable, *command, *shared, "--process-id", str(index)], env=cores)
        for index in range(count)
    ]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: send(running, signal.SIGTERM))
    while not failed(running) and alive(running):
        time.sleep(0.1)
    code, deadline = failed(running), time.monotonic() + _GRACE_SECONDS
    while alive(running) and time.monotonic() < deadline:
        time.sleep(0.1)
    send(running, signal.SIGKILL)
    return code


def alive(running: Sequence[Process]) -> bool:
    return any(process.poll() is None for process in running)


def failed(running: Sequence[Process]) -> int:
    """The exit code of a process that failed, as a shell has it, or 0."""
    codes = [code for process in running if (code := process.poll())]
    return (codes[0] if codes[0] > 0 else 128 - codes[0]) if codes else 0


def send(running: Sequence[Process], number: signal.Signals) -> None:
    for process in running:
        if process.poll() is None:
            process.send_signal(number)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@in_one_sentence()
def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Parse and launch."""
    parser = argparse.ArgumentParser(
        description="Start a training script several times over loopback; every process gets "
        "--coordinator, --num-processes and --process-id in addition.",
        usage="launch_local.py N SCRIPT [ITS OPTIONS ...]",
    )
    parser.add_argument("count", metavar="N", type=int, help="how many processes, >= 1")
    parser.add_argument("command", metavar="SCRIPT ...", nargs=argparse.REMAINDER)
    parsed = parser.parse_args(arguments)
    if parsed.count < 1 or not parsed.command:
        parser.error("expected a number of processes >= 1 and a script")
    return launch(parsed.count, parsed.command)


if __name__ == "__main__":
    sys.exit(run_command_line())
