"""Compile for machines that are not here: `python scripts/compile_for.py COMMAND --help`."""

import sys

from sbo_jax.ahead.command import run_command_line

if __name__ == "__main__":
    sys.exit(run_command_line())
