"""A run on disk: what was asked, what happened, and the best model so far.

    config.json     the configuration and the facts of the task
    metrics.jsonl   one line per epoch; a function of the configuration alone
    timing.jsonl    seconds per epoch
    test_epochs.jsonl   the test metric of every epoch, where asked for; decides nothing
    gradient_flow.jsonl   how evenly gradients reach back through time, from epoch 0 on, where asked
                    for; decides nothing
    answers.npz     what the model answered for the test split, where asked for
    chosen_answers.npz   the same of the model that validation chose, before a refit
    checkpoints/    what training needs to go on (see `checkpoints`)
    model/          the best parameters so far, beside config.json all that `load` reads
    tensorboard/    event files, where asked for
    profile/        what the profiler recorded, where asked for
    summary.json    written last
    report.md       written last, with the pictures that it shows

Every file, but those of TensorBoard and the profiler, is written under a temporary name and
renamed, so that a reader, or a crash, never meets half of one.
"""

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ...devices.processes import by_first, is_first
from ...disk.buckets import Copy, bucket_path
from ...disk.claims import claim_folder, holds_nothing, new_folder
from ...disk.paths import local_path
from ...disk.text import json_text, replace_text
from .arrays import CheckpointError, first_line
from .checkpoints import Checkpoints
from .description import RESULTS, holds_run
from .history import NAMES, lines_up_to


class RunFolder:
    """Claims and fills a run folder; a context manager, which gives it back at the end.

    Of several processes the first one does; in the others all this does nothing.
    """

    def __init__(self, path: str | os.PathLike[str], *, resume: bool = False):
        """Claim the folder, which is created, or with `resume` may hold a run.

        A folder of a bucket, as in ``gs://bucket/run``, is kept at `path` and copied to `place`.

        Raises:
          ValueError: it holds anything else, another process works in it, or it cannot be created.
        """
        bucket = bucket_path(path)
        self._copy = Copy(bucket) if bucket and is_first() else None
        self.path = self._copy.path if self._copy else Path(bucket or local_path(path))
        self.place = str(bucket or self.path)
        self._lines: dict[str, list[str]] = {}
        self._open(resume)

    @classmethod
    def new(cls, name: str) -> "RunFolder":
        """A folder of its own below runs/, named by the time as well."""
        return cls(new_folder(Path("runs"), name) if is_first() else Path("runs", name))

    @by_first
    def _open(self, resume: bool) -> None:
        if "\\" in str(self.path.absolute()):
            raise ValueError(f"expected a run folder without backslashes, got {self.path}")
        self._claim = claim_folder(self.path)
        kept = self._copy.bucket if self._copy else self.path
        if not (holds_nothing(kept) or (resume and (kept / "config.json").is_file())):
            self.close()
            raise ValueError(_refusal(kept, self.place))
        if self._copy:
            try:
                self._copy.fetch()
            except BaseException:
                self._claim.release()
                self._copy.remove()
                raise

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @by_first
    def close(self) -> None:
        """Wait for what is being written, and let others have the folder."""
        if "checkpoints" in vars(self):
            self.checkpoints.close()
        try:
            self._send()
        finally:
            self._claim.release()
        if self._copy:
            self._copy.remove()

    def _send(self) -> None:
        if self._copy is None:
            return
        try:
            self._copy.send()
        except Exception as error:  # of whatever package reaches the bucket
            raise CheckpointError(
                f"expected to write to {self.place}, got {first_line(error)}; all of the run is "
                f"at {self.path}: copy it there, and --resume goes on"
            ) from error

    @cached_property
    def checkpoints(self) -> Checkpoints:
        """Opened when first asked for."""
        return self.checkpoints_in()

    def checkpoints_in(self, part: str = "") -> Checkpoints:
        """Those of a part of the run, in a folder of this name; the caller closes them."""
        return Checkpoints(self.path / part, self._send)

    @by_first
    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        replace_text(self.path / name, json_text(content, indent=2, default=str) + "\n")

    @by_first
    def append_line(self, name: str, content: Mapping[str, Any]) -> None:
        lines = self._lines.setdefault(name, [])
        lines.append(json_text(content) + "\n")
        replace_text(self.path / name, "".join(lines))

    @by_first
    def check_without_results(self) -> None:
        """CheckpointError if there are results, though no checkpoint to go on from."""
        for name in RESULTS:
            if (self.path / name).exists():
                raise CheckpointError(
                    f"expected checkpoints beside {self.path / name} to go on from, got none; put "
                    f"them back, or choose another folder with --out to start anew"
                )

    @by_first
    def cut(self, epoch: int) -> None:
        """Forget the lines of later epochs.

        Raises:
          CheckpointError: lines that a run does not write, or metrics.jsonl lacks an epoch.
        """
        lines = {name: lines_up_to(epoch, self.path / name) for name in NAMES}
        for name, kept in lines.items():
            if (self.path / name).exists():
                self._lines[name] = kept
                replace_text(self.path / name, "".join(kept))


def _refusal(kept: Any, place: str) -> str:
    """What to do about a folder that is neither free nor, with --resume, a run to go on with."""
    if holds_run(kept) and not (kept / "config.json").is_file():
        return (
            f"expected config.json in the run folder {place}, got none; put it back as it was, or "
            f"choose another folder with --out"
        )
    return (
        f"expected a new or empty run folder, got {place}, which is not empty; choose another one "
        f"with --out, or go on with --resume if it is a run"
    )
