"""Prepare MNIST, CIFAR-10, UCI HAR and PTB once, from the original files or by downloading them.

python scripts/prepare_data.py mnist har --raw-dir raw --data-dir data
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from sbo_jax.tasks._types import DataError


@dataclass(frozen=True)
class Config:
    """Which data sets to prepare, from where and to where."""

    datasets: tyro.conf.Positional[tuple[Literal["mnist", "cifar10", "har", "ptb"], ...]] = field(
        default=("mnist", "cifar10", "har", "ptb")
    )
    """Data sets to prepare; all of them by default."""
    raw_dir: Path | None = None
    """Folder with original files in mnist/, cifar10/, uci_har/, ptb/; by default downloaded."""
    data_dir: Path | None = None
    """Folder for the prepared records; by default that of TFDS."""


def main(config: Config) -> None:
    """Prepare each data set and print where it lies and what it holds."""
    # after the command line is parsed: TFDS takes a second, and --help should not
    from sbo_jax.tasks.builders.cifar10 import SboCifar10
    from sbo_jax.tasks.builders.har import SboUciHar
    from sbo_jax.tasks.builders.mnist import SboMnist
    from sbo_jax.tasks.builders.ptb import SboPtb
    from sbo_jax.tasks.builders.records import prepared_builder

    builders = {"mnist": SboMnist, "cifar10": SboCifar10, "har": SboUciHar, "ptb": SboPtb}
    for name in config.datasets:
        builder = prepared_builder(builders[name], config.data_dir, config.raw_dir)
        counts = ", ".join(f"{s} {info.num_examples}" for s, info in builder.info.splits.items())
        print(f"{name}: {builder.data_dir} ({counts})")


if __name__ == "__main__":
    try:
        main(tyro.cli(Config, description=__doc__))
    except DataError as fault:
        print(fault, file=sys.stderr)
        sys.exit(2)
