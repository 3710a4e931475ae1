"""What a stream carries from step to step, and the same as named arrays that outlive a process."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..disk.text import Json, replace_bytes
from ..runs.folder.arrays import digests, first_line, named, unnamed
from ..runs.model_arrays import model_arrays
from ..tasks._types import DataError

_RUN, _CARRY = "run", "carry"
# What decides how steps are read and outputs are meant, beside the model's arrays.
_FACTS = ("mean", "std", "indicated", "target_mean", "target_std", "classes")
# What NumPy raises for files of other kinds, and for flipped bits and cut ends of its own.
_DAMAGE = (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile)


class StreamState(NamedTuple):
    """Of every sequence.

    Attributes:
        carry: of the model.
        last: [batch, d], the last value of every feature, for gaps.
        outputs: [batch, k], the last that were read out; NaN before the first step.
        num_steps: [batch], steps that were read.
    """

    carry: Any
    last: np.ndarray
    outputs: np.ndarray
    num_steps: np.ndarray

    def with_rows_of(self, other: "StreamState", rows: np.ndarray) -> "StreamState":
        """The state in which the sequences of a mask [batch] have those of `other`."""

        def mixed(mine: Any, others: Any) -> Any:
            return np.where(np.expand_dims(rows, [*range(1, mine.ndim)]), others, mine)

        mine, others = self._replace(carry=None), other._replace(carry=None)
        rest = jax.tree.map(mixed, mine, others)
        carry = jax.tree.map(lambda a, b: jnp.asarray(mixed(a, b)), self.carry, other.carry)
        return rest._replace(carry=carry)


def identity(model: Any, content: Json) -> str:
    """A checksum of the arrays and the facts that a state belongs to."""
    facts = {name: content["task"].get(name) for name in _FACTS}
    said = json.dumps([digests(named(model_arrays(model))), facts, content.get("layout")])
    return hashlib.sha256(said.encode()).hexdigest()


def as_arrays(state: StreamState, run: str) -> dict[str, np.ndarray]:
    """Copies of all arrays by name, with what they belong to."""
    carry = {f"{_CARRY}{name}": np.array(x) for name, x in named(state.carry).items()}
    rest = {name: np.array(x) for name, x in state._asdict().items() if name != _CARRY}
    return {_RUN: np.array(run), **rest, **carry}


def from_arrays(arrays: Any, like: StreamState, run: str) -> StreamState:
    """The state that `as_arrays` made arrays of.

    Raises:
      DataError: another thing, or the state of another run or of another number of sequences.
    """
    wanted = as_arrays(like, run)
    if not isinstance(arrays, Mapping) or _RUN not in arrays:
        raise DataError(f"expected a state, as stream.state is one, got {arrays!r:.60}")
    if str(arrays[_RUN]) != run:
        raise DataError(
            "expected a state of this run, got one of another run, or of this one before it was "
            "trained anew; read the sequence again"
        )
    found = {name: np.asarray(arrays[name]) for name in arrays if name in wanted}
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        raise DataError(f"expected a state, as stream.state is one, got one without {missing[0]}")
    _check_batch(len(like.num_steps), found["num_steps"])
    for name, array in found.items():
        if (array.shape, array.dtype) != (wanted[name].shape, wanted[name].dtype):
            raise DataError(
                f"expected {name} of shape {wanted[name].shape} in {wanted[name].dtype}, got "
                f"{array.shape} in {array.dtype}"
            )
    rest = {name: found[name].copy() for name in StreamState._fields if name != _CARRY}
    carry = {name.removeprefix(_CARRY): x for name, x in found.items()}
    return StreamState(unnamed(carry, like.carry), **rest)


def _check_batch(expected: int, num_steps: np.ndarray) -> None:
    if num_steps.shape != (expected,):
        raise DataError(
            f"expected the state of a stream of batch {expected}, got one of batch "
            f"{num_steps.size}; try run.stream(batch={num_steps.size})"
        )


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """A file that is whole, or was not written.

    Raises:
      DataError: a folder, or a file in one that is not there.
      OSError: the system refused to write.
    """
    if path.is_dir():
        raise DataError(f"expected a file to write to, got the folder {path}")
    if not path.parent.is_dir():
        raise DataError(f"expected a folder to write to, got {path.parent}, which is not there")
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    replace_bytes(path, content.getvalue())


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a file that `write` wrote; DataError for a damaged or another one."""
    try:
        # NumPy leaves a damaged file open
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except _DAMAGE as error:
        raise DataError(
            f"expected a file that stream.save wrote, got {path} ({first_line(error)})"
        ) from error
