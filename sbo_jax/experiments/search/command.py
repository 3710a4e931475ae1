"""`benchmark.py search`: the command, which can be asked for help where Optuna is not installed."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import tyro

from ...devices.failures import in_one_sentence
from ..command import Command


@dataclass(frozen=True)
class SearchConfig(Command):
    """Search options on validation: train the trials that a file affords, and write a table.

    No run looks at the test split. A trial that diverges counts, and the search goes on; one whose
    run crashes is tried again by the same command, which goes on after an interruption as well.
    Exit code 0, 1 where runs failed, 2 for bad input, or by signal.
    """

    file: tyro.conf.Positional[Path]
    """a search, as scripts/experiments/search_digits.toml"""


@in_one_sentence("benchmark.py")
def search(config: SearchConfig) -> int:
    """Run the trials that are not done yet, then report."""
    config.check()
    if importlib.util.find_spec("optuna") is None:
        raise ValueError(
            "expected optuna for a search, which is not installed; try pip install -e '.[search]'"
        )
    from .run import run_search

    return run_search(config)
