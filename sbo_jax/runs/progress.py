"""How far a run has come, in memory and on disk."""

import math
import time
from functools import partial
from typing import Any

from flax import nnx

from ..devices.processes import from_first, together
from ..disk.text import Json
from ..training.fit import Epoch, Start
from ..training.method import TrainState
from ..training.step import merge
from .folder.checkpoints import SECONDS_BETWEEN_SAVES, Checkpoint
from .folder.description import check_belongs, describe, identity
from .folder.machine import machine, warn_of_other_machine
from .folder.run_folder import RunFolder
from .learning import Course
from .model_arrays import model_arrays, set_arrays
from .preparation import Prepared


class Progress(Course):
    """The run so far: on disk soon after every epoch, and certainly after `close`.

    Unless it has ended it goes on here, and config.json says so.
    """

    def __init__(self, prepared: Prepared, folder: RunFolder):
        super().__init__(prepared)
        described = describe(prepared.config, prepared.recipe, prepared.task)
        if not from_first((folder.path / "config.json").is_file()):  # before what belongs to it
            together(partial(folder.write_json, "config.json", described))
        self._folder, self._checkpoints = folder, folder.checkpoints
        self._graphdef, fresh = prepared.init()
        self._score = prepared.score
        self._unsaved: Epoch | None = None
        self._saved_at = -math.inf
        self._identity = identity(described)
        self._machine = machine(prepared.mesh)
        what = f"the newest checkpoint in {self._checkpoints.path}"
        belongs = partial(check_belongs, described=described, what=what)
        found = self._checkpoints.restore(fresh, self._arrays(fresh), belongs)
        if found is not None and found.best is not None:
            self._go_on_from(found, found.best)
        if not self.has_ended:
            together(partial(folder.write_json, "config.json", described))
        if found is None:
            together(partial(self._begin, fresh))
        together(lambda: folder.cut(self.start.epoch if self.start else 0))

    def add(self, epoch: Epoch) -> None:
        super().add(epoch)
        self._folder.append_line("metrics.jsonl", epoch.metrics())
        timing = {"epoch": epoch.epoch, "seconds": round(self.seconds, 3)}
        self._folder.append_line("timing.jsonl", timing)
        self._unsaved = epoch
        if time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES:
            self.save()

    def stop_within(self, epoch: Epoch) -> None:
        super().stop_within(epoch)
        self._unsaved = epoch

    def refit(self, state: TrainState) -> None:
        super().refit(state)
        assert self.best is not None
        self._unsaved = self.best._replace(epoch=self.epochs)

    def close(self) -> None:
        """Save, and read the model back before anybody relies on it."""
        self.save()
        self._checkpoints.wait()
        if self.best is not None:
            self._checkpoints.check_model(self._arrays(self.best.state))

    def _begin(self, fresh: TrainState) -> None:
        """A first checkpoint: results without one were not made here, and are not overwritten."""
        self._folder.check_without_results()
        self._checkpoints.save(Checkpoint(fresh, None, self._identity))
        self._checkpoints.wait()

    def save(self) -> None:
        epoch = self._unsaved
        if epoch is None:
            return
        assert self.best is not None  # there is one with whatever is unsaved
        best = self.best
        complete = epoch.validation is not None
        record = {
            "epoch": epoch.epoch if complete else epoch.epoch - 1,
            "losses": [] if complete else list(epoch.losses),
            "measures": {} if complete else dict(epoch.measures),
            "best": best.metrics(),
            "seconds": self.seconds,
            "machine": self._machine,
            "refitted": self.refitted,
            "chosen": self.chosen,
        }
        record |= self._identity
        self._checkpoints.save(Checkpoint(epoch.state, self._arrays(best.state), record))
        self._unsaved, self._saved_at = None, time.monotonic()

    def _arrays(self, state: TrainState) -> Json:
        return model_arrays(merge(self._graphdef, state))

    def _state(self, arrays: Json, state: TrainState) -> TrainState:
        """`state` with the arrays of another model."""
        model = merge(self._graphdef, state)
        set_arrays(model, arrays)
        params, rest = nnx.state(model, nnx.Param, ...)
        return state._replace(params=params, rest=rest)

    def _go_on_from(self, found: Checkpoint, arrays: Json) -> None:
        state, record = found.state, found.record
        best = _best(record["best"], self._state(arrays, state))
        score = self._score(best)
        if score is not None:
            self.best = best
        self.epochs, self.refitted = record["epoch"], record.get("refitted", False)
        self.chosen = record.get("chosen")
        losses = tuple(record["losses"])
        measures = {name: tuple(xs) for name, xs in record.get("measures", {}).items()}
        self.start = Start(state, record["epoch"], losses, score, measures)
        self.seconds = record["seconds"]
        self._began -= self.seconds
        if not self.has_ended:
            warn_of_other_machine(record, self._machine)


def _best(metrics: dict[str, Any], state: TrainState) -> Epoch:
    """The epoch of these metrics; means of measures stand for the measures themselves."""
    own = {name: value for name, value in metrics.items() if name in Epoch._fields}
    measures = {name: (value,) for name, value in metrics.items() if name not in own}
    return Epoch(**own, is_best=True, state=state, losses=(), measures=measures)
