"""`scripts/benchmark.py` where reading a test split is a crash, in the processes of runs as well.

What stands outside of the last condition is done in these processes too.
"""

import sys
from dataclasses import replace
from pathlib import Path

from sealed import Sealed

from sbo_jax import tasks

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

_load = tasks.load
tasks.load = lambda *names, **options: replace(_load(*names, **options), test=Sealed())

if __name__ == "__main__":
    import benchmark

    sys.exit(benchmark.run_command_line())
