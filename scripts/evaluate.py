"""Score a trained run: `python scripts/evaluate.py --help`, or `sbo-evaluate` installed."""

import sys

from sbo_jax.trained.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
