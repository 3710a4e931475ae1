"""Places on disk that one process writes at a time."""

import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import IO

from .paths import is_temporary

LOCK = ".lock"
# See `leases`.
LEASE = ".lease"


class Claim:
    """Holds a folder or a file until it is released or the process ends, however that happens.

    The lock is on a file beside what is held, and the system's: it ends with the process, so that a
    crash blocks nobody. Over NFS it is the server's: other hosts see it, and a host that crashed
    holds it until its lease ends, usually 90 s.

    Raises:
      ValueError: another process holds it, or it cannot be written to.
    """

    def __init__(self, held: Path, lock: Path, *, create: bool):
        self._lock, self._created = lock, create and not lock.parent.exists()
        try:
            self._file = _open_locked(lock, create)
        except BlockingIOError as error:
            raise ValueError(
                f"expected a place that no other process writes to, got {held}, which is held by "
                f"{_holder(lock)}; wait for it, or choose another one with --out"
            ) from error
        except OSError as error:
            raise ValueError(
                f"expected a place that can be written to, got {held} ({error.strerror}); choose "
                f"another one with --out"
            ) from error

    def release(self) -> None:
        """Let others have it; a folder that was created for it and is empty is removed."""
        with suppress(OSError):
            self._lock.unlink()
        if self._created:
            with suppress(OSError):  # it is not empty
                self._lock.parent.rmdir()
        self._file.close()


def claim_folder(folder: Path) -> Claim:
    """Holds a folder, which is created if it is not there; ValueError where it cannot be one."""
    if not folder.is_dir() and (folder.exists() or folder.is_symlink()):
        kind = "a file" if folder.exists() else "a link to what is not there"
        raise ValueError(f"expected a folder, got {folder}, {kind}; choose another one with --out")
    return Claim(folder, folder / LOCK, create=True)


def claim_file(file: Path) -> Claim:
    """Holds a file in a folder that is there."""
    return Claim(file, file.with_name(f".{file.name}{LOCK}"), create=False)


def holds_nothing(folder: Path) -> bool:
    """Whether no folder is there, or only a claim and what a killed process left in it."""
    return not folder.exists() or all(
        is_claim(path) or is_temporary(path) for path in folder.iterdir()
    )


def is_claim(path: Path) -> bool:
    return path.name in (LOCK, LEASE)


def new_folder(parent: Path, name: str) -> Path:
    """A folder that nobody has: `name`, the time, and a suffix that no other start has."""
    return parent / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{token_hex(4)}"


def _open_locked(path: Path, create: bool) -> IO[str]:
    """The file, locked and still in its folder: whoever held it before may have removed both."""
    while True:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = _locked(path)
        except FileNotFoundError:
            if not (create or path.parent.exists()):
                raise
            continue
        if file:
            break
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file


def _locked(path: Path) -> IO[str] | None:
    import fcntl  # not on Windows, where models can be loaded

    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    return None


def _holder(path: Path) -> str:
    with suppress(OSError, ValueError):
        return path.read_text() or "one that starts"
    return "one that cannot be named"
