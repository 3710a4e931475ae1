"""The trials of a search as Optuna keeps them, in one file that outlives every interruption.

OUT/journal.log   every step of the search, appended

A journal, since it needs no locks of the system, which SQLite does and shared disks often lack.
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from ...runs.folder.arrays import first_line
from ..command import JOURNAL
from .file import Search

_NAME = "search"
# Optuna's "pruned" is what ended before its value was known, and counts as worse than all others.
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class Trial(NamedTuple):
    """A choice of options; trials are numbered from 0, in the order in which they were chosen."""

    number: int
    chosen: Mapping[str, Any]


class Study:
    """Chooses options by TPE, from what the trials before have reached.

    What it chooses depends on the file, the trials that have ended and those that have begun alone:
    where trials run one after another, an interrupted search is the same as another.

    Raises:
      ValueError: the folder is that of another search, or its journal is damaged.
    """

    def __init__(self, search: Search, out: Path):
        self._search, self._path = search, out / JOURNAL
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            # Absolute, or Optuna cannot break the lock of a process that was killed.
            storage = JournalStorage(JournalFileBackend(str(self._path.absolute())))
            self._study = optuna.create_study(
                storage=storage, study_name=_NAME, direction="minimize", load_if_exists=True
            )
            asked = self._study.user_attrs.get("asked")
        except OSError:
            raise
        except Exception as error:  # whatever damaged lines make Optuna raise
            raise ValueError(
                f"expected the journal of a search in {self._path}, got {first_line(error)}; "
                f"choose another folder with --out"
            ) from error
        self._agree(asked)

    @property
    def ended(self) -> list[Trial]:
        """The trials that count, in their order."""
        return self._in(*_ENDED)

    @property
    def begun(self) -> list[Trial]:
        """Those that have not ended: interrupted, or a run of them has crashed."""
        return self._in(TrialState.RUNNING)

    def ask(self) -> Trial:
        """A new trial."""
        place = self._search.sampler_seed, len(self.ended) + len(self.begun)
        seed = int(np.random.SeedSequence(place).generate_state(1)[0])
        self._study.sampler = optuna.samplers.TPESampler(seed=seed)
        trial = self._study.ask(dict(self._search.space))
        return Trial(trial.number, trial.params)

    def tell(self, trial: Trial, losses: Sequence[float] | None) -> None:
        """A trial has ended with these losses, seed by seed; None: a run of it diverged."""
        if losses is None:
            self._study.tell(trial.number, state=TrialState.PRUNED)
        else:
            self._study.tell(trial.number, statistics.mean(losses))

    def drop_half_chosen(self) -> None:
        """Forget a trial whose choice was interrupted itself."""
        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            if trial.params.keys() != self._search.space.keys():
                self._study.tell(trial.number, state=TrialState.FAIL)

    def _in(self, *states: TrialState) -> list[Trial]:
        found = self._study.get_trials(deepcopy=False, states=states)
        return [Trial(trial.number, trial.params) for trial in found]

    def _agree(self, there: Mapping[str, Any] | None) -> None:
        """Writes down what is searched, if nobody has; ValueError where it is another thing."""
        names = ("seeds", "split_per_seed", "sampler_seed", "shared", "searched")
        here = {name: getattr(self._search, name) for name in names}
        if there is None:
            self._study.set_user_attr("asked", here)
            return
        there = {"split_per_seed": False, **there}  # what searches before this option did
        if different := [name for name in names if there[name] != here[name]]:
            name = different[0]
            raise ValueError(
                f"expected the search that {self._path.parent} was begun with, got another: its "
                f"{name} is {there[name]!r:.200} there and {here[name]!r:.200} here; choose "
                f"another folder with --out"
            )
