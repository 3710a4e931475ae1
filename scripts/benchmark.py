"""Benchmarks of SBO-RNN and its peers: `python scripts/benchmark.py COMMAND --help`."""

import sys
from collections.abc import Callable, Sequence

import tyro

from sbo_jax.benchmarks.choices import benchmark_choices
from sbo_jax.benchmarks.flow import benchmark_flow
from sbo_jax.benchmarks.relaxations import benchmark_relaxations
from sbo_jax.benchmarks.speed import benchmark_speed
from sbo_jax.benchmarks.stream import benchmark_stream
from sbo_jax.devices.allocator import keep_freed_memory
from sbo_jax.experiments.run import run
from sbo_jax.experiments.search.command import search
from sbo_jax.experiments.summary import summarise

COMMANDS: dict[str, Callable[..., int]] = {
    "speed": benchmark_speed,
    "choices": benchmark_choices,
    "stream": benchmark_stream,
    "flow": benchmark_flow,
    "run": run,
    "search": search,
    "summary": summarise,
    "relaxations": benchmark_relaxations,
}


def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Parse ``COMMAND [options]`` and run it."""
    return tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="benchmark.py",
        description=__doc__,
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )


if __name__ == "__main__":
    keep_freed_memory()  # for every contender, and as train.py does
    sys.exit(run_command_line())
