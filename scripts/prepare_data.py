"""Prepare MNIST, CIFAR-10, UCI HAR and PTB once, from the original files or by downloading them.

python scripts/prepare_data.py mnist har --raw-dir raw --data-dir data
"""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from sbo_jax.devices.failures import in_one_sentence

# Modules and classes of sbo_jax.tasks.builders, imported after the command line is parsed: TFDS
# takes a second, and --help should not.
BUILDERS = {"mnist": "SboMnist", "cifar10": "SboCifar10", "har": "SboUciHar", "ptb": "SboPtb"}

if TYPE_CHECKING:
    DatasetName = str
else:  # type checkers see text, the command line a choice
    DatasetName = Literal[tuple(BUILDERS)]


@dataclass(frozen=True)
class Config:
    """Which data sets to prepare, from where and to where."""

    datasets: tyro.conf.Positional[tuple[DatasetName, ...]] = tuple(BUILDERS)
    """Data sets to prepare; all of them by default."""
    raw_dir: Path | None = None
    """Folder with original files in mnist/, cifar10/, uci_har/, ptb/; by default downloaded."""
    data_dir: Path | None = None
    """Folder for the prepared records; by default that of TFDS."""


def main(config: Config) -> int:
    """Prepare each data set and print where it lies and what it holds."""
    from sbo_jax.tasks.builders.records import prepared_builder

    for name in config.datasets:
        module = importlib.import_module(f"sbo_jax.tasks.builders.{name}")
        builder_class = getattr(module, BUILDERS[name])
        builder = prepared_builder(builder_class, config.data_dir, config.raw_dir)
        counts = ", ".join(f"{s} {info.num_examples}" for s, info in builder.info.splits.items())
        print(f"{name}: {builder.data_dir} ({counts})")
    return 0


@in_one_sentence()
def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Parse and prepare."""
    return main(tyro.cli(Config, args=arguments, description=__doc__))


if __name__ == "__main__":
    sys.exit(run_command_line())
