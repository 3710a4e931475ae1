"""The tasks by name: one table that says how each is loaded and what is known of it before that.

No other module asks for a task by name: it asks for a property of the table's entry. A new task is
a file in `catalogue` and a line in the table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from .._checks import did_you_mean
from ..disk.paths import local_path
from ._types import DataError, PathLike, Request, Task
from .catalogue import adding, digits, har, mnist, noisy, ptb, recall
from .faults import reading
from .own import task as own


@dataclass(frozen=True)
class Entry:
    """How a task is loaded, and its properties that need no data.

    Attributes:
        load: the task that a request asks for; takes part of the training samples where the
            request has a train_fraction.
        outline: the task without its data, its samples being zeros; None where `load` needs no
            download.
        default_length: time steps unless the caller chooses; None where the data decide.
        needs_folder: the data are the user's own, in a folder that the caller names.
        has_split_seed: a seed decides which samples are for validation (or are generated).
        is_stream: a sample continues the one before it, from batch to batch.
        is_square_image: a sample is a square image read pixel by pixel, row by row.
        metric: that of `Task`; None where the data decide.
        title: its name in a table of results; "" for the name it has here.
    """

    load: Callable[[Request], Task]
    outline: Callable[[Request], Task] | None = None
    default_length: int | None = None
    needs_folder: bool = False
    has_split_seed: bool = True
    is_stream: bool = False
    is_square_image: bool = False
    metric: str | None = "accuracy"
    title: str = ""

    @property
    def has_length(self) -> bool:
        """Whether the caller may choose the number of time steps."""
        return self.default_length is not None

    @property
    def has_classes(self) -> bool:
        """Whether targets are classes, or may be."""
        return self.metric in ("accuracy", None)

    @property
    def predicts_tokens(self) -> bool:
        """Whether it reads tokens and predicts the next among the same ones."""
        return self.metric == "perplexity"


TASKS: Mapping[str, Entry] = MappingProxyType(
    {
        "digits": Entry(digits.load, is_square_image=True, title="Digits"),
        "adding": Entry(
            adding.load, default_length=adding.DEFAULT_LENGTH, metric="mse", title="Adding"
        ),
        "recall": Entry(recall.load, default_length=recall.DEFAULT_LENGTH, title="Recall"),
        "pixel_mnist": Entry(
            mnist.pixel, mnist.pixel_outline, is_square_image=True, title="Pixel MNIST"
        ),
        "permuted_mnist": Entry(mnist.permuted, mnist.permuted_outline, title="Permuted MNIST"),
        "noisy_mnist": Entry(noisy.noisy_mnist, noisy.noisy_mnist_outline, title="Noisy MNIST"),
        "noisy_cifar10": Entry(
            noisy.noisy_cifar10, noisy.noisy_cifar10_outline, title="Noisy CIFAR-10"
        ),
        "har2": Entry(har.load, har.outline, title="HAR-2"),
        "ptb": Entry(
            ptb.load,
            ptb.outline,
            default_length=ptb.DEFAULT_LENGTH,
            has_split_seed=False,
            is_stream=True,
            metric="perplexity",
            title="Penn Treebank",
        ),
        "folder": Entry(own.load, needs_folder=True, metric=None),
    }
)
NAMES: tuple[str, ...] = tuple(TASKS)

if TYPE_CHECKING:
    TaskName = str
else:  # the names are written once: type checkers see text, command lines a choice
    TaskName = Literal[NAMES]


def properties(name: str) -> Entry:
    """The entry of a task; DataError for a name that is not in the table."""
    if name not in TASKS:
        hint = did_you_mean(name, NAMES) or f"; try {NAMES[0]}"
        raise DataError(f"expected a task among {', '.join(NAMES)}, got {name!r}{hint}")
    return TASKS[name]


def metric(name: str, folder: PathLike | None = None) -> str:
    """The metric of the task of that name; of your own data as their description states it.

    No samples are read. DataError where there is no whole description in `folder`.
    """
    known = properties(name).metric
    return known or own.metric(local_path(folder or "", DataError))


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
    """The task of that name; prepares its data first where that has not happened yet.

    Args:
        name: one of `NAMES`.
        seed: decides which samples are for validation (and which samples "adding" generates),
            0 <= seed < 2**31.
        length: time steps of "adding" (default 100), "recall" (256) and "ptb" (300); other tasks
            have none.
        train_fraction: keep this fraction of the training samples, 0 < train_fraction <= 1, the
            same fraction of every class and at least one sample each. An epoch is a pass over
            these; validation and test stay whole. "adding" and "recall" then have a fixed pool of
            train_fraction * 6400 samples, and "ptb" the beginning of its text.
        folder: your own data set, for the task "folder": its dataset.toml (docs/own_data.md), the
            folder that holds it, or a .ts or .arff file of the UCR and UEA archives.
        data_dir: where prepared MNIST, CIFAR-10, HAR and PTB are; by default TFDS's own folder.
        raw_dir: folder with the original files in `mnist`, `cifar10`, `uci_har` and `ptb`; by
            default they are downloaded. Not needed once a data set is prepared.
    """
    check_request(name, seed, length, train_fraction, folder)
    places = {"folder": folder, "raw_dir": raw_dir, "data_dir": data_dir}
    named = {option: local_path(place, DataError) for option, place in places.items() if place}
    request = Request(seed, length, train_fraction, **named)
    given = "".join(f", {option} {place}" for option, place in named.items())
    expected = f"expected data for the task {name}{given}, got none that can be read"
    with reading(expected, "look for damaged files, or for paths that cannot be read"):
        task = TASKS[name].load(request)
    if task.facts.get("train_fraction") != train_fraction:
        raise NotImplementedError(f"the loader of the task {name} ignores train_fraction")
    return task


def outline(
    name: str,
    *,
    seed: int = 0,
    length: int | None = None,
    train_fraction: float | None = None,
    folder: PathLike | None = None,
) -> Task:
    """The task of that name with zeros for samples that `load` would have to download.

    For programs that are compiled and not run. Arguments mean what they mean to `load`; how many
    samples there are may differ a little, where a seed decides it.
    """
    check_request(name, seed, length, train_fraction, folder)
    make = TASKS[name].outline
    if make is not None:
        return make(Request(seed, length, train_fraction))
    return load(name, seed=seed, length=length, train_fraction=train_fraction, folder=folder)


def check_request(
    name: str,
    seed: int,
    length: int | None,
    train_fraction: float | None,
    folder: PathLike | None,
) -> None:
    """DataError for arguments of `load` that no data could make valid."""
    entry = properties(name)
    if not 0 <= seed < 2**31:
        raise DataError(f"expected a seed from 0 to 2**31 - 1, got {seed}; try 0")
    if train_fraction is not None and not 0 < train_fraction <= 1:
        raise DataError(
            f"expected 0 < train_fraction <= 1, got {train_fraction:g}; try 0.1 for a tenth"
        )
    _check_option("length", length, name, lambda entry: entry.has_length)
    _check_option("folder", folder, name, lambda entry: entry.needs_folder)
    if folder is None and entry.needs_folder:
        raise DataError(
            f"expected a data set for the task {name!r}, got none; name its dataset.toml, or the "
            "folder that holds it, with folder (--folder)"
        )


def _check_option(option: str, value: object, name: str, takes_it: Callable[[Entry], bool]) -> None:
    """DataError for an option that is given, but has no effect with this task."""
    if value is not None and not takes_it(TASKS[name]):
        *some, last = (other for other, entry in TASKS.items() if takes_it(entry))
        others = f"{', '.join(some)} or {last}" if some else last
        raise DataError(
            f"{option} {value} has no effect with the task {name}; remove it, or choose the task "
            f"{others}"
        )
