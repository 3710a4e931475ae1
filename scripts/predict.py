"""Predict with a trained run: `python scripts/predict.py --help`, or `sbo-predict` installed."""

import sys

from sbo_jax.trained.commands.predict import main

if __name__ == "__main__":
    sys.exit(main())
