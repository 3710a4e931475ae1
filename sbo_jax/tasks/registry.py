"""Tasks by name."""

import difflib
from typing import Literal, get_args

from . import fractions
from ._types import DataError, PathLike, Task
from .catalogue import adding, cifar10, digits, har, mnist, noisy, ptb
from .own import task as folders

TaskName = Literal[
    "digits",
    "adding",
    "pixel_mnist",
    "permuted_mnist",
    "noisy_mnist",
    "noisy_cifar10",
    "har2",
    "ptb",
    "folder",
]
NAMES: tuple[str, ...] = get_args(TaskName)


def load(
    name: str,
    *,
    seed: int = 0,
    length: int | None = None,
    train_fraction: float | None = None,
    folder: PathLike | None = None,
    data_dir: PathLike | None = None,
    raw_dir: PathLike | None = None,
) -> Task:
    """The task of that name, with its data prepared first where that has not happened yet.

    Args:
        name: one of `NAMES`.
        seed: decides who is in the validation split (and the samples of "adding"),
            0 <= seed < 2**31.
        length: time steps of "adding" (default 100) and "ptb" (default 300), and of no other.
        train_fraction: keep this part of the training samples, 0 < train_fraction <= 1, of every
            class its share and one at least; validation and test stay whole. An epoch is a pass
            over the part. Of "adding" it keeps a fixed pool of train_fraction * 6400 samples, of
            "ptb" the beginning of the text.
        folder: a data set of your own, for "folder" alone: its dataset.toml (docs/own_data.md)
            or the folder that holds it.
        data_dir: where MNIST, CIFAR-10, HAR and PTB are prepared; by default TFDS's own folder.
        raw_dir: folder with the original files in `mnist`, `cifar10`, `uci_har` and `ptb`; by
            default they are downloaded. Not needed once a data set is prepared.
    """
    check_request(name, seed, length, train_fraction, folder)
    task = _whole(name, seed, length, folder, data_dir, raw_dir)
    if train_fraction is not None:
        task = fractions.part(task, train_fraction, seed)
    return noisy.noisy(task, name) if name in ("noisy_mnist", "noisy_cifar10") else task


def _whole(
    name: str,
    seed: int,
    length: int | None,
    folder: PathLike | None,
    data_dir: PathLike | None,
    raw_dir: PathLike | None,
) -> Task:
    """All training samples; of the noisy tasks the images, pixel by pixel."""
    match name:
        case "digits":
            return digits.load(seed)
        case "adding":
            return adding.load(seed, adding.DEFAULT_LENGTH if length is None else length)
        case "pixel_mnist" | "noisy_mnist":
            return mnist.pixel(seed, data_dir=data_dir, raw_dir=raw_dir)
        case "permuted_mnist":
            return mnist.permuted(seed, data_dir=data_dir, raw_dir=raw_dir)
        case "noisy_cifar10":
            return cifar10.pixel(seed, data_dir=data_dir, raw_dir=raw_dir)
        case "ptb":
            length = ptb.DEFAULT_LENGTH if length is None else length
            return ptb.load(length, data_dir=data_dir, raw_dir=raw_dir)
        case "folder":
            return folders.load(seed, str(folder))
        case _:
            return har.load(seed, data_dir=data_dir, raw_dir=raw_dir)


def check_request(
    name: str,
    seed: int,
    length: int | None,
    train_fraction: float | None,
    folder: PathLike | None,
) -> None:
    """DataError for arguments of `load` that no data could make right."""
    _check_name(name)
    _check_values(seed, train_fraction)
    _check_options(name, length, folder)


def _check_name(name: str) -> None:
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"try {NAMES[0]!r}"
        raise DataError(f"expected a task among {', '.join(NAMES)}, got {name!r}; {hint}")


def _check_values(seed: int, train_fraction: float | None) -> None:
    if not 0 <= seed < 2**31:
        raise DataError(f"expected a seed from 0 to 2**31 - 1, got {seed}; try 0")
    if train_fraction is not None and not 0 < train_fraction <= 1:
        raise DataError(
            f"expected 0 < train_fraction <= 1, got {train_fraction:g}; try 0.1 for a tenth"
        )


def _check_options(name: str, length: int | None, folder: PathLike | None) -> None:
    if length is not None and name not in ("adding", "ptb"):
        raise DataError(
            f"expected a length for the tasks 'adding' and 'ptb' alone, got length={length} for "
            f"{name!r}; leave length out"
        )
    if folder is not None and name != "folder":
        raise DataError(
            f"expected a folder for the task 'folder' alone, got folder={str(folder)!r} for "
            f"{name!r}; leave folder out, or choose the task 'folder' (--task folder)"
        )
    if folder is None and name == "folder":
        raise DataError(
            "expected a data set for the task 'folder', got none; name its dataset.toml, or the "
            "folder that holds it, with folder (--folder)"
        )
