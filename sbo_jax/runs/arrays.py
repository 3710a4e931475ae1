"""Arrays on disk under their names, each with its SHA-256: orbax does not notice a flipped bit."""

import hashlib
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as orbax
from jaxtyping import PyTree

from .files import Json

DIGESTS = "sha256"

Named: TypeAlias = dict[str, np.ndarray]


class CheckpointError(OSError):
    """Checkpoints cannot be written, or none of those that are there can be used."""


def read(checkpoint: Path, like: Mapping[str, Named]) -> tuple[dict[str, Named], Json]:
    """The items of `like` and the record; an exception of any type for what is damaged.

    Raises:
      CheckpointError: arrays of other names.
    """
    reader = orbax.Checkpointer(orbax.CompositeCheckpointHandler())
    items = orbax.args.Composite(record=orbax.args.JsonRestore())
    record = _unsealed(reader.restore(checkpoint, items)["record"])
    sha256 = record.pop(DIGESTS)
    for item, arrays in like.items():
        other = sorted(sha256[item].keys() ^ arrays.keys())
        if other:
            raise CheckpointError(
                f"expected a checkpoint of this model, got one in {checkpoint} that differs in "
                f"{other[0]} and {len(other) - 1} other arrays"
            )
    templates = {item: orbax.args.StandardRestore(arrays) for item, arrays in like.items()}
    found = dict(reader.restore(checkpoint, orbax.args.Composite(**templates)).items())
    for item, arrays in found.items():
        for name, digest in digests(arrays).items():
            if digest != sha256[item][name]:
                raise ValueError(f"{name} is not what was written")
    return found, record


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
