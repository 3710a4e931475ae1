"""Train a grid over eta, mu and seed: `python scripts/sweep_eta.py --help`, or `sbo-sweep`."""

import sys

from sbo_jax.runs.sweep_command import main

if __name__ == "__main__":
    sys.exit(main())
