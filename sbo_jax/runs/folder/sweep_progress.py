"""How far a sweep has come, in memory and on disk."""

import math
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from jax.sharding import Mesh

from ...devices.processes import from_first, together
from ...disk.text import Json
from ...training.fit_many import COLUMNS, SweepEpoch
from ...training.method import TrainState
from .checkpoints import SECONDS_BETWEEN_SAVES, Checkpoint, Checkpoints
from .description import check_belongs, identity
from .machine import machine, warn_of_other_machine


class SweepProgress:
    """The epochs of a sweep so far: on disk soon after every one, and certainly after `close`.

    ``epochs`` are without states; ``start`` is where training goes on, None for its beginning.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        described: Mapping[str, Any],
        fresh: TrainState,
        mesh: Mesh,
    ):
        """Find the newest checkpoint; `fresh` are the states before the first step, stacked.

        Raises:
          ValueError: it belongs to another configuration.
          CheckpointError: none that is whole.
        """
        self.epochs: list[SweepEpoch] = []
        self.start: SweepEpoch | None = None
        self._checkpoints = checkpoints
        self._identity, self._machine = identity(described), machine(mesh)
        self._num_epochs = described["sweep"]["epochs"]
        self._unsaved: SweepEpoch | None = None
        self._saved_at = -math.inf
        what = f"the newest checkpoint in {checkpoints.path}"
        belongs = partial(check_belongs, described=described, what=what)
        found = checkpoints.restore(fresh, {}, belongs)
        if found is not None:
            self._go_on_from(found)

    def add(self, epoch: SweepEpoch) -> None:
        """A complete epoch; all processes together."""
        self.epochs.append(epoch._replace(states=None))
        self._unsaved = epoch
        if from_first(time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES):
            self.save()

    def save(self) -> None:
        """Start to write what is not on disk yet; all processes together."""
        epoch = self._unsaved
        if epoch is None or epoch.states is None:
            return
        epochs = [{"epoch": known.epoch} | _lists(known) for known in self.epochs]
        record = {"epochs": epochs, "machine": self._machine} | self._identity
        states = epoch.states()
        together(lambda: self._checkpoints.save(Checkpoint(states, None, record)))
        self._unsaved, self._saved_at = None, time.monotonic()

    def close(self) -> None:
        """Save, and wait until it is written."""
        self.save()
        together(self._checkpoints.wait)

    def _go_on_from(self, found: Checkpoint) -> None:
        self.epochs = [_epoch(line) for line in found.record["epochs"]]
        self.start = self.epochs[-1]._replace(states=lambda: found.state)
        if len(self.epochs) < self._num_epochs:
            warn_of_other_machine(found.record, self._machine)


def _lists(epoch: SweepEpoch) -> Json:
    return {name: getattr(epoch, name).tolist() for name in COLUMNS}


def _epoch(line: Json) -> SweepEpoch:
    columns: dict[str, Any] = {name: np.asarray(line[name]) for name in COLUMNS}
    return SweepEpoch(epoch=line["epoch"], **columns)
