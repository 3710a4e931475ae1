"""What a run needs to go on, and its best model, on disk and checked before they are believed.

    checkpoints/NUMBER/   the newest two: `state` and `best` (orbax), and a `record` in JSON
    model/NUMBER/         a copy of the newest `best` and its `record`, for `load`

A checkpoint, and then a model, is written in the background, under a temporary name until complete.
The first process alone writes and reads, and sends what it read to the others: their hosts need not
share a disk.
"""

import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import orbax.checkpoint as orbax
from jaxtyping import PyTree

from ..devices.processes import by_first, from_first, is_first, together
from .arrays import (
    DIGESTS,
    CheckpointError,
    Named,
    digests,
    first_line,
    named,
    read,
    sealed,
    unnamed,
)
from .files import Json

# One to fall back to when the newest is damaged.
_KEPT = 2


class Checkpoint(NamedTuple):
    """Where training goes on, the arrays of the best model so far, and a record of JSON values."""

    state: PyTree
    best: PyTree
    record: Json


class Checkpoints:
    """The checkpoints of a run folder and the model beside them, to be closed at the end."""

    def __init__(self, folder: Path):
        self.path, self._models = folder.absolute() / "checkpoints", folder.absolute() / "model"
        self._writing: Future[None] | None = None
        self._published: Mapping[str, str] | None = None
        if is_first():
            self._manager = _manager(self.path)
            self._writer = ThreadPoolExecutor(max_workers=1)

    @by_first
    def close(self) -> None:
        """Wait for what is being written, whether it succeeds or not."""
        self._writer.shutdown()
        self._manager.close()

    @by_first
    def save(self, checkpoint: Checkpoint) -> None:
        """Start to write.

        Raises:
          CheckpointError: the checkpoint before this one could not be written.
        """
        self.wait()
        items = {"state": named(checkpoint.state), "best": named(checkpoint.best)}
        self._writing = self._writer.submit(self._write, items, checkpoint.record)

    @by_first
    def wait(self) -> None:
        """Until everything is written; CheckpointError if it could not be."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            with _explained(self.path):
                writing.result()

    def restore(self, state: PyTree, best: PyTree) -> Checkpoint | None:
        """The newest whole checkpoint, in these structures; None if there is none.

        Warns of damaged ones, and removes them once an older one has been found whole. Its model
        becomes that of the folder.

        Raises:
          CheckpointError: checkpoints of another model, or none that is whole.
        """
        like = {"state": named(state), "best": named(best)}
        found = from_first(together(lambda: self._newest(like) if is_first() else None))
        if found is None:
            return None
        arrays, record = found
        return Checkpoint(unnamed(arrays["state"], state), unnamed(arrays["best"], best), record)

    def _write(self, items: Mapping[str, Named], record: Json) -> None:
        number = (self._manager.latest_step() or 0) + 1
        sha256 = {item: digests(arrays) for item, arrays in items.items()}
        args = {item: orbax.args.StandardSave(arrays) for item, arrays in items.items()}
        args["record"] = orbax.args.JsonSave(sealed(record | {DIGESTS: sha256}))
        self._manager.save(number, args=orbax.args.Composite(**args))
        if sha256["best"] != self._published:
            _publish(self.path / str(number), self._models)
            self._published = sha256["best"]

    def _newest(self, like: Mapping[str, Named]) -> tuple[dict[str, Named], Json] | None:
        numbers = sorted(self._manager.all_steps(), reverse=True)
        for position, number in enumerate(numbers):
            try:
                found = read(self.path / str(number), like)
            except CheckpointError:
                raise
            except Exception as error:  # whatever a damaged file makes its readers raise
                reason = first_line(error)
                warnings.warn(
                    f"the checkpoint {self.path / str(number)} is damaged ({reason})",
                    stacklevel=2,
                )
            else:
                for damaged in numbers[:position]:
                    self._manager.delete(damaged)
                with _explained(self._models):
                    _publish(self.path / str(number), self._models)
                return found
        if numbers:
            raise CheckpointError(
                f"expected a checkpoint that is whole, got none in {self.path}; remove the run's "
                f"folder, or choose another one with --out, to start again"
            )
        return None


def read_model(folder: Path, like: PyTree) -> PyTree | None:
    """The arrays of the model in a run folder, in the structure of `like`; None if there is none.

    Raises:
      ValueError: a model that is damaged, or of another structure.
    """
    numbers = _numbers(folder / "model")
    if not numbers:
        return None
    newest = folder.absolute() / "model" / str(max(numbers))
    try:
        return unnamed(read(newest, {"best": named(like)})[0]["best"], like)
    except Exception as error:  # whatever a damaged file makes its readers raise
        raise ValueError(
            f"expected a whole model of this configuration in {newest}, got {first_line(error)}; "
            f"train.py --resume writes it anew from the run's checkpoints"
        ) from error


def _manager(path: Path) -> orbax.CheckpointManager:
    """It belongs to the first process alone, and blocks while it writes."""
    alone = orbax.options.MultiprocessingOptions(primary_host=0, active_processes={0})
    options = orbax.CheckpointManagerOptions(
        max_to_keep=_KEPT,
        multiprocessing_options=alone,
        create=False,
        enable_async_checkpointing=False,
    )
    path.mkdir(parents=True, exist_ok=True)
    return orbax.CheckpointManager(path, options=options, item_names=("state", "best", "record"))


def _publish(checkpoint: Path, models: Path) -> None:
    """Copy the model of a checkpoint, then remove the one before: at any time one is complete."""
    models.mkdir(exist_ok=True)
    _clear(models)
    new, target = models / ".new", models / checkpoint.name
    for item in ("best", "record"):
        shutil.copytree(checkpoint / item, new / item)
    if target.exists() and _bytes_in(target) != _bytes_in(new):  # it was damaged
        _set_aside(target)
    if not target.exists():
        os.replace(new, target)
    for number in _numbers(models) - {int(checkpoint.name)}:
        _set_aside(models / str(number))
    _clear(models)


def _set_aside(folder: Path) -> None:
    os.replace(folder, folder.with_name(f".{folder.name}"))


def _clear(models: Path) -> None:
    """Remove what is incomplete, or was set aside, here or by a process that was killed."""
    for path in models.glob(".*"):
        shutil.rmtree(path)


def _numbers(folder: Path) -> set[int]:
    return {int(path.name) for path in folder.glob("*") if path.name.isdecimal()}


def _bytes_in(folder: Path) -> dict[Path, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns whatever is raised while `path` is written into a `CheckpointError`."""
    try:
        yield
    except Exception as error:
        raise CheckpointError(
            f"expected room and permission to write to {path}, got {first_line(error)}; what was "
            f"written before is whole, and --resume goes on from there"
        ) from error
