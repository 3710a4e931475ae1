"""What a run needs to go on, on disk, and checked before it is believed.

Written by orbax: in the background, and under a temporary name until complete. Orbax does not
notice a flipped bit, so every array has its SHA-256 beside it. Of several processes the first one
writes and reads, and tells the others: their hosts need not share a disk.
"""

import hashlib
import json
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as orbax

from ..devices.processes import by_first, from_first, is_first, together

# One to fall back to when the newest is damaged.
_KEPT = 2
_FOLDER = "checkpoints"
_DIGESTS = "sha256"

Record = dict[str, Any]


class CheckpointError(OSError):
    """Checkpoints cannot be written, or none of those that are there can be used."""


class Checkpoint(NamedTuple):
    """A pytree of arrays, and a record of JSON values."""

    arrays: Any
    record: Record


class Checkpoints:
    """The newest checkpoints of a run folder; a context manager, since they are written behind."""

    def __init__(self, folder: Path):
        self.path = folder.absolute() / _FOLDER
        if is_first():
            self._manager = manager(self.path, keep=_KEPT, items=("arrays", "record"))

    def __enter__(self) -> "Checkpoints":
        return self

    @by_first
    def __exit__(self, *_: object) -> None:
        self._manager.close()

    @by_first
    def save(self, step: int, checkpoint: Checkpoint) -> None:
        """Write behind; `step` must be above those before, and is left out if it is there already.

        Raises:
          CheckpointError: this one, or the one before it, could not be written.
        """
        if step == self._manager.latest_step():
            return
        arrays = _named(checkpoint.arrays)
        record = checkpoint.record | {_DIGESTS: {n: _digest(a) for n, a in arrays.items()}}
        items = orbax.args.Composite(
            arrays=orbax.args.StandardSave(arrays), record=orbax.args.JsonSave(_sealed(record))
        )
        with explained(self.path):
            self._manager.save(step, args=items)

    @by_first
    def wait(self) -> None:
        """Until everything is written; CheckpointError if it could not be."""
        with explained(self.path):
            self._manager.wait_until_finished()

    def restore(self, like: Any) -> Checkpoint | None:
        """The newest checkpoint that is whole, in the structure of `like`; None if there is none.

        Warns of damaged ones, and removes them once an older one has been found whole.

        Raises:
          CheckpointError: checkpoints of another model, or none that is whole.
        """
        found = from_first(together(lambda: self._newest(_named(like)) if is_first() else None))
        return found and Checkpoint(_unnamed(found.arrays, like), found.record)

    def _newest(self, like: dict[str, np.ndarray]) -> Checkpoint | None:
        steps = sorted(self._manager.all_steps(), reverse=True)
        for position, step in enumerate(steps):
            try:
                checkpoint = self._read(step, like)
            except CheckpointError:
                raise
            except Exception as error:  # whatever a damaged file makes its readers raise
                reason = _first_line(error)
                warnings.warn(
                    f"the checkpoint of step {step} in {self.path} is damaged ({reason})",
                    stacklevel=2,
                )
            else:
                for damaged in steps[:position]:
                    self._manager.delete(damaged)
                return checkpoint
        if steps:
            raise CheckpointError(
                f"expected a checkpoint that is whole, got none in {self.path}; remove the run's "
                f"folder, or choose another one with --out, to start again"
            )
        return None

    def _read(self, step: int, like: dict[str, np.ndarray]) -> Checkpoint:
        items = orbax.args.Composite(record=orbax.args.JsonRestore())
        record = _unsealed(self._manager.restore(step, args=items)["record"])
        digests = record.pop(_DIGESTS)
        if digests.keys() != like.keys():
            other = sorted(digests.keys() ^ like.keys())
            raise CheckpointError(
                f"expected a checkpoint of this model, got one in {self.path} that differs in "
                f"{other[0]} and {len(other) - 1} other arrays"
            )
        items = orbax.args.Composite(arrays=orbax.args.StandardRestore(like))
        arrays = self._manager.restore(step, args=items)["arrays"]
        for name, array in arrays.items():
            if _digest(array) != digests[name]:
                raise ValueError(f"{name} is not what was written")
        return Checkpoint(arrays, record)


def manager(path: Path, *, keep: int, items: tuple[str, ...] | None = None) -> Any:
    """An orbax store of the newest `keep` steps that belongs to the first process alone."""
    alone = orbax.options.MultiprocessingOptions(primary_host=0, active_processes={0})
    options = orbax.CheckpointManagerOptions(
        max_to_keep=keep, multiprocessing_options=alone, create=False
    )
    path.mkdir(parents=True, exist_ok=True)
    return orbax.CheckpointManager(path.absolute(), options=options, item_names=items)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns whatever orbax raises while it writes to `path` into a `CheckpointError`."""
    try:
        yield
    except Exception as error:
        raise CheckpointError(
            f"expected room and permission to write to {path}, got {_first_line(error)}; what was "
            f"written before is whole, and --resume goes on from there"
        ) from error


def _named(tree: Any) -> dict[str, np.ndarray]:
    """Arrays by path, on the host, and so independent of devices; random keys as their numbers."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(_key_data(leaf)) for path, leaf in leaves}


def _unnamed(arrays: dict[str, np.ndarray], like: Any) -> Any:
    def pick(path: Any, leaf: Any) -> jax.Array:
        array = jnp.asarray(arrays[jax.tree_util.keystr(path)])
        return (
            jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf))
            if _is_key(leaf)
            else array
        )

    return jax.tree_util.tree_map_with_path(pick, like)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_data(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _digest(array: np.ndarray) -> str:
    head = f"{array.dtype} {array.shape} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()


def _sealed(record: Record) -> Record:
    """The record as text with its own digest: JSON keeps every float, and shows every flip."""
    text = json.dumps(record)
    return {"text": text, _DIGESTS: hashlib.sha256(text.encode()).hexdigest()}


def _unsealed(sealed: Record) -> Record:
    if hashlib.sha256(sealed["text"].encode()).hexdigest() != sealed[_DIGESTS]:
        raise ValueError("the record is not what was written")
    return json.loads(sealed["text"])


def _first_line(error: BaseException) -> str:
    line = str(error).strip().splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {textwrap.shorten(line, 160)}"
