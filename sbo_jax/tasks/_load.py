"""Tasks by name."""

import difflib

from . import adding, digits, har, mnist
from ._types import DataError, PathLike, Task

NAMES: tuple[str, ...] = ("digits", "adding", "pixel_mnist", "permuted_mnist", "har2")


def load(
    name: str,
    *,
    seed: int = 0,
    length: int | None = None,
    data_dir: PathLike | None = None,
    raw_dir: PathLike | None = None,
) -> Task:
    """The task of that name, with its data prepared first where that has not happened yet.

    Args:
        name: one of `NAMES`.
        seed: decides who is in the validation split (and the samples of "adding"),
            0 <= seed < 2**31.
        length: time steps, for "adding" alone (default 100).
        data_dir: where MNIST and HAR are prepared; by default TFDS's own folder.
        raw_dir: folder with the original files in `mnist` and `uci_har`; by default they
            are downloaded. Not needed once a data set is prepared.
    """
    _check(name, seed, length)
    match name:
        case "digits":
            return digits.load(seed)
        case "adding":
            return adding.load(seed, adding.DEFAULT_LENGTH if length is None else length)
        case "pixel_mnist":
            return mnist.pixel(seed, data_dir=data_dir, raw_dir=raw_dir)
        case "permuted_mnist":
            return mnist.permuted(seed, data_dir=data_dir, raw_dir=raw_dir)
        case _:
            return har.load(seed, data_dir=data_dir, raw_dir=raw_dir)


def _check(name: str, seed: int, length: int | None) -> None:
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"try {NAMES[0]!r}"
        raise DataError(f"expected a task among {', '.join(NAMES)}, got {name!r}; {hint}")
    if not 0 <= seed < 2**31:
        raise DataError(f"expected a seed from 0 to 2**31 - 1, got {seed}; try 0")
    if length is not None and name != "adding":
        raise DataError(
            f"expected a length for the task 'adding' alone, got length={length} for {name!r}; "
            "leave length out"
        )
