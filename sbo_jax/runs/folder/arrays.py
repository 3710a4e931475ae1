"""Arrays on disk under their names, each with its SHA-256: orbax does not notice a flipped bit."""

import hashlib
import json
import logging
import os
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as orbax
from jaxtyping import PyTree

from ...disk.text import Json

DIGESTS = "sha256"
_FILES = "sha256.json"

Named: TypeAlias = dict[str, np.ndarray]


class CheckpointError(OSError):
    """Checkpoints cannot be read or written, or none of those that are there can be used."""


class _Arrays(orbax.StandardCheckpointHandler):
    """One directory per array: OCDBT, orbax's default, takes brackets in a path for a pattern."""

    def __init__(self) -> None:
        super().__init__(use_ocdbt=False)

    def finalize(self, directory: os.PathLike[str]) -> None:
        """Orbax merges OCDBT's parts here, of which there are none; digests of files come instead.

        Damage is found before anything parses it: the parsers' errors come in many types, and from
        threads that print them.
        """
        item = Path(directory)
        files = {str(path.relative_to(item)): _sha256(path) for path in _files(item)}
        (item / _FILES).write_text(json.dumps(files))


@orbax.args.register_with_handler(_Arrays, for_save=True)
class SaveArrays(orbax.args.StandardSave):
    """Arrays to write."""


@orbax.args.register_with_handler(_Arrays, for_restore=True)
class RestoreArrays(orbax.args.StandardRestore):
    """Arrays of these shapes and types to read."""


def handlers() -> dict[str, orbax.CheckpointHandler]:
    """What writes and reads the items of a checkpoint."""
    return {"state": _Arrays(), "best": _Arrays(), "record": orbax.JsonCheckpointHandler()}


def read_record(checkpoint: Path) -> Json:
    """The record and the digests; an exception of any type if it is damaged.

    Raises:
      CheckpointError: files that cannot be read, which says nothing about what they hold.
    """
    with _reading(checkpoint):
        items = orbax.args.Composite(record=orbax.args.JsonRestore())
        return _unsealed(_reader().restore(checkpoint, items)["record"])


def read(checkpoint: Path, like: Mapping[str, Named]) -> tuple[dict[str, Named], Json]:
    """The items of `like` that are there, and the record; raises whatever damage makes it raise.

    Raises:
      CheckpointError: arrays of other names, or files that cannot be read.
    """
    record = read_record(checkpoint)
    sha256 = record.pop(DIGESTS)
    wanted = {item: arrays for item, arrays in like.items() if item in sha256}
    for item, arrays in wanted.items():
        other = sorted(sha256[item].keys() ^ arrays.keys())
        if other:
            raise CheckpointError(
                f"expected a checkpoint of this model, got one in {checkpoint} that differs in "
                f"{other[0]} and {len(other) - 1} other arrays"
            )
    with _reading(checkpoint):
        for item in wanted:
            _check_files(checkpoint / item)
    templates = {item: RestoreArrays(arrays) for item, arrays in wanted.items()}
    with _reading(checkpoint):
        found = dict(_reader().restore(checkpoint, orbax.args.Composite(**templates)).items())
    for item, arrays in found.items():
        for name, digest in digests(arrays).items():
            if digest != sha256[item][name]:
                raise ValueError(f"{name} is not what was written")
    return found, record


def _files(item: Path) -> Iterator[Path]:
    return (path for path in item.rglob("*") if path.is_file())


def _check_files(item: Path) -> None:
    for name, digest in json.loads((item / _FILES).read_text(encoding="utf-8")).items():
        if _sha256(item / name) != digest:
            raise ValueError(f"{name} is not what was written")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def alone() -> orbax.options.MultiprocessingOptions:
    """This process reads or writes while the others do something else: nobody waits for them."""
    here = jax.process_index()
    return orbax.options.MultiprocessingOptions(primary_host=here, active_processes={here})


def _reader() -> orbax.Checkpointer:
    handler = orbax.CompositeCheckpointHandler(**handlers())
    return orbax.Checkpointer(handler, multiprocessing_options=alone())


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """A `CheckpointError` where the system refused to read, rather than found something wrong.

    Orbax's log, which warns of what is missing, is quiet: it is raised as well.
    """
    log = logging.getLogger("absl")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    except Exception as error:
        if not _refused(error):
            raise
        raise CheckpointError(
            f"expected to read {path}, got {first_line(error)}; nothing was changed, try again"
        ) from error
    finally:
        log.setLevel(before)


def _refused(error: BaseException) -> bool:
    missing = FileNotFoundError | NotADirectoryError | IsADirectoryError
    if isinstance(error, OSError | MemoryError) and not isinstance(error, missing):
        return True
    # tensorstore raises ValueError for everything, and names the system's errors in its text.
    return "OS error" in str(error) or "RESOURCE_EXHAUSTED" in str(error)


def named(tree: PyTree) -> Named:
    """Arrays by path, on the host, and so independent of devices; random keys as their numbers."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(_key_data(leaf)) for path, leaf in leaves}


def unnamed(arrays: Named, like: PyTree) -> PyTree:
    def pick(path: tuple[object, ...], leaf: PyTree) -> jax.Array:
        array = jnp.asarray(arrays[jax.tree_util.keystr(path)])
        return (
            jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf))
            if _is_key(leaf)
            else array
        )

    return jax.tree_util.tree_map_with_path(pick, like)


def _is_key(leaf: PyTree) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_data(leaf: PyTree) -> PyTree:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def digests(arrays: Named) -> dict[str, str]:
    return {name: _digest(array) for name, array in arrays.items()}


def _digest(array: np.ndarray) -> str:
    head = f"{array.dtype} {array.shape} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()


def sealed(record: Json) -> Json:
    """The record as text with its own digest: JSON keeps every float, and shows every flip."""
    text = json.dumps(record)
    return {"text": text, DIGESTS: hashlib.sha256(text.encode()).hexdigest()}


def _unsealed(sealed: Json) -> Json:
    if hashlib.sha256(sealed["text"].encode()).hexdigest() != sealed[DIGESTS]:
        raise ValueError("the record is not what was written")
    return json.loads(sealed["text"])


def first_line(error: BaseException) -> str:
    line = str(error).strip().splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {textwrap.shorten(line, 160)}"
