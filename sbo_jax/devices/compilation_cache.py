"""Programs that are compiled once and kept in a folder for the next start."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from ..disk.paths import local_path

_REQUEST = "/jax/compilation_cache/compile_requests_use_cache"
_SAVED = "/jax/compilation_cache/compile_time_saved_sec"


class KeptPrograms:
    """Has JAX keep what it compiles in `folder`, and counts what was found there already.

    Without a folder it changes nothing, and the environment variable JAX_COMPILATION_CACHE_DIR
    holds. To be made before anything is compiled, once per process.

    Attributes:
      asked: programs that this process needed so far.
      found: those of them that were in the folder.
      seconds: what compiling these took when they were kept, less what reading them took.

    Raises:
      ValueError: a folder that cannot be written to.
    """

    def __init__(self, folder: Path | None):
        self.asked, self.found, self.seconds = 0, 0, 0.0
        check_writable(folder)
        self.folder = folder and local_path(folder)
        if self.folder is None:
            return
        jax.config.update("jax_compilation_cache_dir", str(self.folder.absolute()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        compilation_cache.reset_cache()  # it would stay with the folder that it has used first
        jax.monitoring.register_event_listener(self._count)
        jax.monitoring.register_event_duration_secs_listener(self._add)

    def __str__(self) -> str:
        told = f"{self.found} of {self.asked} compiled programs came from {self.folder}"
        if self.found:
            told += f", which {_saving(self.seconds)}"
        return told if self.found == self.asked else f"{told}; the next start finds all there"

    def _count(self, event: str, **_: object) -> None:
        self.asked += event == _REQUEST

    def _add(self, event: str, duration_secs: float, **_: object) -> None:
        if event == _SAVED:
            self.found += 1
            self.seconds += duration_secs


@contextmanager
def nothing_kept() -> Iterator[None]:
    """No program is kept, nor read: one for devices that are not here could not be read again."""
    before = jax.config.values["jax_enable_compilation_cache"]
    _keep(False)
    try:
        yield
    finally:
        _keep(before)


def _keep(is_enabled: bool) -> None:
    jax.config.update("jax_enable_compilation_cache", is_enabled)
    compilation_cache.reset_cache()  # JAX asks once whether there is one


def _saving(seconds: float) -> str:
    """What programs did that were read instead of compiled."""
    if abs(seconds) < 0.05:
        return "saved no time"
    if seconds > 0:
        return f"saved {seconds:.1f} s"
    return f"took {-seconds:.1f} s longer to read than to compile"


def check_writable(folder: Path | None) -> None:
    """ValueError for a folder, which is created, in which nothing can be written."""
    if folder is None:
        return
    try:
        local_path(folder).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=local_path(folder)).close()
    except OSError as error:
        raise ValueError(
            f"expected a folder that can be written to for --compilation-cache, got {folder} "
            f"({error.strerror}); choose another one, or leave it out"
        ) from error
