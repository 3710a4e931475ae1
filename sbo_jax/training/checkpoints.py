"""What a run needs to go on, on disk, and checked before it is believed.

Written by orbax: in the background, and under a temporary name until complete. Orbax does not
notice a flipped bit, so every array has its SHA-256 beside it.
"""

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as orbax

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
        options = orbax.CheckpointManagerOptions(max_to_keep=_KEPT)
        self._manager = orbax.CheckpointManager(
            self.path, options=options, item_names=("arrays", "record")
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

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
        with self._explained():
            self._manager.save(step, args=items)

    def wait(self) -> None:
        """Until everything is written; CheckpointError if it could not be."""
        with self._explained():
            self._manager.wait_until_finished()

    def restore(self, like: Any) -> Checkpoint | None:
        """The newest checkpoint that is whole, in the structure of `like`; None if there is none.

        Warns of damaged ones, and removes them once an older one has been found whole.

        Raises:
          CheckpointError: checkpoints of another model, or none that is whole.
        """
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
            raise CheckpointError(f"expected a checkpoint that is whole, got none in {self.path}")
        return None

    def _read(self, step: int, like: Any) -> Checkpoint:
        items = orbax.args.Composite(record=orbax.args.JsonRestore())
        record = _unsealed(self._manager.restore(step, args=items)["record"])
        digests, template = record.pop(_DIGESTS), _named(like)
        if digests.keys() != template.keys():
            other = sorted(digests.keys() ^ template.keys())
            raise CheckpointError(
                f"expected a checkpoint of this model, got one in {self.path} that differs in "
                f"{other[0]} and {len(other) - 1} other arrays"
            )
        items = orbax.args.Composite(arrays=orbax.args.StandardRestore(template))
        arrays = self._manager.restore(step, args=items)["arrays"]
        for name, array in arrays.items():
            if _digest(array) != digests[name]:
                raise ValueError(f"{name} is not what was written")
        return Checkpoint(_unnamed(arrays, like), record)

    def _explained(self) -> "_Explained":
        return _Explained(self.path)


class _Explained:
    """Turns whatever writers raise into a `CheckpointError` with a sentence."""

    def __init__(self, path: Path):
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if isinstance(error, Exception):
            raise CheckpointError(
                f"expected room and permission to write checkpoints, got {_first_line(error)} in "
                f"{self._path}; those before are whole, and --resume goes on from there"
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
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
