"""A search as a TOML file: which options to try, and how many trials it may take.

title = "Digits"
trials = 30                  # the budget
seeds = [0]                  # of every trial, whose value is the mean over them
split_per_seed = false       # true: every seed splits the data anew
sampler_seed = 0

[shared]                     # options of scripts/train.py that all runs have
task = "digits"

[search]                     # options that the sampler chooses
solver = ["sgd", "nesterov"]
upper_rate = {low = 1e-4, high = 3e-2, log = true}
hidden = {low = 16, high = 128}
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from optuna.distributions import BaseDistribution

from ...runs.build import check_model
from ...runs.config import TrainConfig, check
from ..file import Cell
from ..options import check_apart, check_no_seed, configuration, parsed, seeded, structured
from .space import corners, distribution

# What would look at the test split, or train on validation samples.
_OF_ONE_RUN = ("report_test_epochs", "report_gradient_flow", "refit")


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """The parts of a search."""

    trials: int
    title: str | None = None
    seeds: list[int] = msgspec.field(default_factory=lambda: [0])
    split_per_seed: bool = False
    sampler_seed: int = 0
    shared: dict[str, Any] = {}
    search: dict[str, Any] = {}


class Search(NamedTuple):
    """What a TOML file asks for.

    Attributes:
      trials: how many may be trained, with every seed.
      shared: options that all runs have.
      searched: what the file says of every option that the sampler chooses.
      space: the same as Optuna has it.
    """

    title: str
    trials: int
    seeds: Sequence[int]
    split_per_seed: bool
    sampler_seed: int
    shared: Mapping[str, Any]
    searched: Mapping[str, Any]
    space: Mapping[str, BaseDistribution]

    def cells(self, name: str, chosen: Mapping[str, Any]) -> list[Cell]:
        """The runs of a trial of this name with these options, one per seed."""
        return [Cell(name, name, self._config(chosen, seed)) for seed in self.seeds]

    def _config(self, chosen: Mapping[str, Any], seed: int) -> TrainConfig:
        return configuration({**self.shared, **chosen, **seeded(seed, self.split_per_seed)})

    def check(self) -> None:
        """ValueError for what cannot be, or does not fit together, where options are extreme."""
        extreme = list(corners(self.space))
        configs = [self._config(chosen, self.seeds[0]) for chosen in extreme]
        configs += [self._config(extreme[0], seed) for seed in self.seeds]
        for config in configs:
            check(config)
        # Most options do not change the model, which takes time to look at.
        models = {(c.data, c.layer, c.lower, c.hyper): c for c in configs}
        for config in models.values():
            check_model(config)


def read_search(path: Path) -> Search:
    """Read and check a file.

    Raises:
      ValueError: no such file, not TOML, options that do not exist or do not fit, or nothing to
        search; names the file and the option.
    """
    content = parsed(path, "a search")
    try:
        file = structured(content, _File, "parts of a search")
        _check_parts(file)
        space = {name: distribution(name, values) for name, values in file.search.items()}
        search = Search(
            file.title or path.stem,
            file.trials,
            file.seeds,
            file.split_per_seed,
            file.sampler_seed,
            file.shared,
            file.search,
            space,
        )
        search.check()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return search


def _check_parts(file: _File) -> None:
    """ValueError for parts that cannot be, or do not go together."""
    check_no_seed(file.split_per_seed, file.shared, file.search)
    if file.trials < 1:
        raise ValueError(f"expected trials >= 1, got {file.trials}; try 30")
    if not 0 <= file.sampler_seed < 2**31:
        raise ValueError(f"expected 0 <= sampler_seed < 2**31, got {file.sampler_seed}; try 0")
    if not file.seeds or len(set(file.seeds)) < len(file.seeds):
        raise ValueError(f"expected one seed or more, each once, got seeds = {file.seeds}; try [0]")
    if not file.search:
        raise ValueError("expected options below [search], got none; try solver = [...]")
    check_apart(("shared", file.shared), ("search", file.search))
    for name in _OF_ONE_RUN:
        if name in file.shared or name in file.search:
            raise ValueError(
                f"{name} has no effect in a search, which decides on validation alone; remove it"
            )
