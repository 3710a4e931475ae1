"""Train an SBO-RNN: `python scripts/train.py --help`. Once installed, `sbo-train` is the same."""

import sys

from sbo_jax.runs.train_command import main

if __name__ == "__main__":
    sys.exit(main())
