"""New data in NumPy files: those in `new.npz` have the keys of training, or are `new.npz:KEY`."""

from functools import partial
from pathlib import Path

from ..._types import DataError
from ..arrays import reader as arrays
from ..description import Arrays
from ..gaps import Gaps
from ..keys import Metric
from ..layouts import Reader
from ..table import Table

# Of the new data of a task of the catalogue, for which no user has named any.
OF_CATALOGUE = Arrays("data.npz:inputs", "data.npz:labels")


def arrays_in(path: Path, training: Arrays) -> Reader:
    """The reader of the counterparts that the arrays of training have in this file.

    Raises:
        DataError: a file of another kind, or arrays of training that were in several files, whose
            counterparts only a description can name.
    """
    file, key = _split(str(path))
    if not file.endswith((".npy", ".npz")):
        raise DataError(
            f"expected arrays in FILE.npz, FILE.npz:KEY or FILE.npy, or a dataset.toml, got {path}"
        )
    if file.endswith(".npy"):
        return partial(_table, path, Arrays(file))
    _, own_key = _split(training.inputs)
    offsets = _there(file, training, training.offsets)
    if training.offsets is not None and offsets is None:
        raise _several(path, "offsets")
    key = key or own_key
    inputs, labels = f"{file}:{key}" if key else file, _there(file, training, training.labels)
    return partial(_table, path, Arrays(inputs, labels, offsets, per_step=training.per_step))


def _table(path: Path, found: Arrays, metric: Metric | None, gaps: Gaps) -> Table:
    if metric is not None and found.labels is None:
        raise _several(path, "labels")
    return arrays.read(Path(), found, metric, gaps)


def _several(path: Path, what: str) -> DataError:
    return DataError(
        f"expected inputs and {what} in one file .npz, by the keys of training, got {path}; name "
        "the files of both in a dataset.toml, and give that"
    )


def _there(file: str, training: Arrays, name: str | None) -> str | None:
    """The array of this name in the new file, if training had it in one file with the inputs."""
    if name is None:
        return None
    (own, _), (other, key) = _split(training.inputs), _split(name)
    return f"{file}:{key}" if other == own else None


def _split(name: str) -> tuple[str, str]:
    """File and key, "" for none."""
    if name.endswith((".npy", ".npz")):
        return name, ""
    file, _, key = name.rpartition(":")
    return (file, key) if file else (name, "")
