"""What a run needs to go on, and its best model, on disk and checked before they are believed.

    checkpoints/NUMBER/   the newest two: `state` and `best` (orbax), and a `record` in JSON
    model/NUMBER/         a copy of the newest `best` and its `record`, for `load`
    damaged/              what was found damaged and has a successor

A checkpoint, and then a model, is written in the background, under a temporary name until complete.
The first process alone writes and reads, and sends what it read to the others: their hosts need not
share a disk.
"""

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import orbax.checkpoint as orbax
from jaxtyping import PyTree

from ...devices.processes import by_first, from_first, is_first, together
from ...disk.space import check_room
from ...disk.text import Json
from .arrays import (
    DIGESTS,
    CheckpointError,
    Named,
    SaveArrays,
    alone,
    digests,
    first_line,
    handlers,
    named,
    read,
    sealed,
    unnamed,
)
from .published import make_folder, newest_model, publish, set_aside

# One to fall back to when the newest is damaged.
_KEPT = 2
# Epochs of a second or less need not be written every time.
SECONDS_BETWEEN_SAVES = 10.0


class Checkpoint(NamedTuple):
    """Where training goes on, the arrays of the best model so far, and a record of JSON values.

    ``best`` is None before there is a model.
    """

    state: PyTree
    best: PyTree | None
    record: Json


class Checkpoints:
    """The checkpoints of a run folder and the model beside them, to be closed at the end.

    ``on_write()`` is called in the background after each of them.
    """

    def __init__(self, folder: Path, on_write: Callable[[], None] = lambda: None):
        self._on_write = on_write
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
        items = {"state": named(checkpoint.state)}
        if checkpoint.best is not None:
            items["best"] = named(checkpoint.best)
        self._writing = self._writer.submit(self._write, items, checkpoint.record)

    @by_first
    def wait(self) -> None:
        """Until everything is written; CheckpointError if it could not be."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            with _explained(self.path):
                writing.result()

    def restore(
        self, state: PyTree, best: PyTree, check: Callable[[Json], None] = lambda record: None
    ) -> Checkpoint | None:
        """The newest whole checkpoint, in these structures; None if there is none.

        Warns of damaged ones, and moves them to damaged/ once an older one has been found whole.
        Its model becomes that of the folder.

        Raises:
          ValueError: `check` refuses the record; nothing was changed.
          CheckpointError: checkpoints of another model, or that cannot be read, or none that is
            whole; nothing was changed.
        """
        like = {"state": named(state), "best": named(best)}
        found = from_first(together(lambda: self._newest(like, check) if is_first() else None))
        if found is None:
            return None
        arrays, record = found
        model = unnamed(arrays["best"], best) if "best" in arrays else None
        return Checkpoint(unnamed(arrays["state"], state), model, record)

    @by_first
    def check_model(self, best: PyTree) -> None:
        """CheckpointError unless the model on disk is whole, and these arrays."""
        trained = named(best)
        with _explained(self._models):
            self.wait()
            newest = newest_model(self._models.parent)
            if newest is None or digests(read(newest, {"best": trained})[0]["best"]) != digests(
                trained
            ):
                raise ValueError("a model that differs from the one that was trained")

    def _write(self, items: Mapping[str, Named], record: Json) -> None:
        arrays = [array for named in items.values() for array in named.values()]
        # A checkpoint and the model beside it; every array is a folder of two files.
        check_room(self.path, 2 * sum(array.nbytes for array in arrays), 6 * len(arrays))
        number = (self._manager.latest_step() or 0) + 1
        sha256 = {item: digests(arrays) for item, arrays in items.items()}
        args = {item: SaveArrays(arrays) for item, arrays in items.items()}
        args["record"] = orbax.args.JsonSave(sealed(record | {DIGESTS: sha256}))
        with _quiet_threads():
            self._manager.save(number, args=orbax.args.Composite(**args))
        if "best" in sha256 and sha256["best"] != self._published:
            publish(self.path / str(number), self._models)
            self._published = sha256["best"]
        self._on_write()

    def _newest(
        self, like: Mapping[str, Named], check: Callable[[Json], None]
    ) -> tuple[dict[str, Named], Json] | None:
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
                check(found[1])
                with _explained(self.path):
                    for damaged in numbers[:position]:
                        set_aside(self.path / str(damaged))
                    self._manager.reload()
                    if "best" in found[0]:
                        publish(self.path / str(number), self._models)
                return found
        if numbers:
            left = "put them back"
            if _is_whole(newest_model(self._models.parent), like):
                left = f"the model in {self._models} is whole, and sbo_jax.load reads it: keep it"
            raise CheckpointError(
                f"expected a checkpoint that is whole, got none in {self.path}; {left}, or choose "
                f"another folder with --out to start again"
            )
        return None


def _is_whole(model: Path | None, like: Mapping[str, Named]) -> bool:
    if model is None:
        return False
    try:
        read(model, {"best": like["best"]})
    except Exception:  # whatever a damaged file makes its readers raise
        return False
    return True


def _manager(path: Path) -> orbax.CheckpointManager:
    """It belongs to the first process alone, and blocks while it writes."""
    options = orbax.CheckpointManagerOptions(
        max_to_keep=_KEPT,
        multiprocessing_options=alone(),
        create=False,
        enable_async_checkpointing=False,
    )
    make_folder(path, "put the folder back as it was, or choose another one with --out")
    try:
        return orbax.CheckpointManager(path, options=options, item_handlers=handlers())
    except OSError:
        raise
    except Exception as error:  # whatever damaged metadata makes orbax raise
        raise CheckpointError(
            f"expected checkpoints with metadata that orbax can read in {path}, got "
            f"{first_line(error)}; remove the files _CHECKPOINT_METADATA below it, without which "
            f"--resume goes on all the same"
        ) from error


@contextmanager
def _quiet_threads() -> Iterator[None]:
    """Threads of orbax print no traceback: what they raise is raised here again."""
    before = threading.excepthook

    def quiet(failure: threading.ExceptHookArgs) -> None:
        if not type(failure.thread).__module__.startswith("orbax."):
            before(failure)

    threading.excepthook = quiet
    try:
        yield
    finally:
        threading.excepthook = before


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns whatever is raised while `path` is written into a `CheckpointError`."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"expected room and permission to write to {path}, got {first_line(error)}; what was "
            f"written before is whole, and --resume goes on from there"
        ) from error
