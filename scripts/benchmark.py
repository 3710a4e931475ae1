"""Benchmarks of SBO-RNN and its peers: `python scripts/benchmark.py COMMAND --help`."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from sbo_jax.benchmarks.choices import ChoicesConfig, benchmark_choices
from sbo_jax.benchmarks.relaxations import RelaxationsConfig, benchmark_relaxations
from sbo_jax.benchmarks.speed import SpeedConfig, benchmark_speed
from sbo_jax.devices.allocator import keep_freed_memory
from sbo_jax.experiments.run import RunConfig, run

COMMANDS: dict[str, tuple[Any, Callable[..., int]]] = {
    "speed": (SpeedConfig, benchmark_speed),
    "choices": (ChoicesConfig, benchmark_choices),
    "run": (RunConfig, run),
    "relaxations": (RelaxationsConfig, benchmark_relaxations),
}


def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Parse ``COMMAND [options]`` and run it."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    usage = f"usage: benchmark.py {{{','.join(COMMANDS)}}} [--help]"
    if arguments[:1] in (["--help"], ["-h"]):
        print(usage)
        return 0
    if not arguments or arguments[0] not in COMMANDS:
        print(usage, file=sys.stderr)
        return 2
    config_class, command = COMMANDS[arguments[0]]
    return command(tyro.cli(config_class, args=arguments[1:], prog=f"benchmark.py {arguments[0]}"))


if __name__ == "__main__":
    keep_freed_memory()  # for every contender, and as train.py does
    sys.exit(run_command_line())
