"""Folders that workers on several machines share out; each is held by one of them at a time.

    NAME.3/          held by the third worker that took it
    NAME.3/.lease    written anew while that worker lives; gone once it gave the folder back
    NAME/            published: nobody takes it any more

Making, taking over and publishing all rename the folder, so that one worker of two succeeds; and
one that was paused until its lease had ended finds no folder for what it writes. This needs a disk
on which a rename is one act, as on NFS, but neither its locks nor clocks that agree: a lease's age
is the difference between times that the disk itself gave two files.
"""

import errno
import json
import os
import re
import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

from .claims import LEASE, LOCK

# How often a lease is renewed before it would end.
_BEATS = 5
_HELD = re.compile(r"(.+)\.([1-9]\d*)")


class _Held(NamedTuple):
    """What a holder wrote last: who it is, its lease in seconds, and when that was on the disk."""

    holder: str
    seconds: float
    since: float


class Lease:
    """A folder that this process holds, ``path``, until it publishes it or gives it back.

    ``number`` counts those who took it; ``taken_from`` is the one before if it fell silent, None
    where the folder was new or given back.
    """

    def __init__(self, name: Path, number: int, seconds: float, taken_from: str | None):
        self._name, self.number, self.taken_from = name, number, taken_from
        self.path = _numbered(name, number)
        content = {"seconds": seconds, "holder": f"process {os.getpid()} on {socket.gethostname()}"}
        self._content = json.dumps(content).encode()

    def make(self) -> None:
        """A new folder that has its lease before it has its name; OSError where one is there."""
        unnamed = self.path.with_name(f".{self.path.name}.{token_hex(4)}.tmp")
        unnamed.mkdir()
        try:
            _overwrite(unnamed / LEASE, self._content)
            if self.path.exists():  # given back and empty, it would be replaced
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self.path))
            os.rename(unnamed, self.path)
        except OSError:
            _remove(unnamed)
            raise

    def renew(self) -> bool:
        """Let it last; False if it was lost: to be called more often than it ends."""
        found = held_folders(self._name.parent)
        if self._name.exists() or found.get(self._name.name, 0) != self.number:
            return False
        try:
            _overwrite(self.path / LEASE, self._content)
        except FileNotFoundError:
            return False
        return True

    def give_back(self) -> None:
        """Let others have it now."""
        (self.path / LEASE).unlink(missing_ok=True)

    def publish(self) -> bool:
        """Give the folder the name that it keeps; False if it was lost, and another has the say."""
        if not self.renew():
            return False
        try:
            os.rename(self.path, self._name)
        except OSError as error:
            if _is_taken(error):
                return False
            raise
        (self._name / LEASE).unlink(missing_ok=True)
        return True


class Renewal:
    """Renews leases in a thread, several times before they end, and gives back what is left.

    A context manager. One that cannot be renewed at the moment is tried again, and one that is lost
    stays: its owner finds out when it publishes.
    """

    def __init__(self, seconds: float):
        self._seconds, self._leases = seconds, dict[str, Lease]()
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Renewal":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for lease in self._leases.values():
            lease.give_back()

    def add(self, name: str, lease: Lease) -> None:
        with self._lock:
            self._leases[name] = lease

    def pop(self, name: str) -> Lease:
        """The lease of this name, which is not renewed any more."""
        with self._lock:
            return self._leases.pop(name)

    def __contains__(self, name: str) -> bool:
        return name in self._leases

    def _beat(self) -> None:
        while not self._ended.wait(self._seconds / _BEATS):
            with self._lock:
                for lease in self._leases.values():
                    with suppress(OSError):
                        lease.renew()


def held_folders(parent: Path) -> dict[str, int]:
    """By name, the number of the newest lease on it."""
    found: dict[str, int] = {}
    for entry in parent.iterdir():
        if match := _HELD.fullmatch(entry.name):
            found[match[1]] = max(found.get(match[1], 0), int(match[2]))
    return found


def is_held(name: Path, number: int) -> bool:
    """Whether anybody holds a folder of this number, alive or not."""
    return bool(number) and (_numbered(name, number) / LEASE).exists()


def time_on(disk: Path) -> float:
    """Seconds, as the disk of this folder gives its files their times."""
    with tempfile.TemporaryFile(dir=disk) as file:
        file.write(b".")
        file.flush()
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_mtime


def take(name: Path, number: int, now: float, seconds: float) -> Lease | None:
    """Hold a folder that is new, or was given back, or whose holder was silent for its lease.

    None if somebody holds it, or is faster. What a process that was killed left in it stays.

    Args:
      name: where it is published, which has not happened yet.
      number: that of `held_folders`, 0 where there is none.
      now: `time_on` this disk.
      seconds: how long the lease lasts without a `Lease.renew`.
    """
    before = _numbered(name, number)
    held = _held(before, seconds)
    if held and now - held.since <= held.seconds:
        return None
    lease = Lease(name, number + 1, seconds, held and held.holder)
    try:
        if number:
            os.rename(before, lease.path)
        else:
            lease.make()
    except OSError as error:
        if _is_taken(error):
            return None
        raise
    (lease.path / LOCK).unlink(
        missing_ok=True
    )  # of one that is paused, and locked what was its own
    if lease.renew():
        return lease
    if not number:
        _remove(lease.path)
    return None


def hand_over(name: Path) -> None:
    """Let workers share what a process that worked alone left under this name."""
    number = held_folders(name.parent).get(name.name, 0) + 1
    with suppress(FileNotFoundError):  # another worker was faster
        os.rename(name, _numbered(name, number))


def _numbered(name: Path, number: int) -> Path:
    return name.with_name(f"{name.name}.{number}")


def _held(folder: Path, seconds: float) -> _Held | None:
    """Who holds a folder; None where nobody does. `seconds` for a holder that does not say."""
    try:
        with (folder / LEASE).open("rb") as file:  # opened: a stat alone may be an old one on NFS
            content, since = file.read(), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None
    holder = "another process"
    with suppress(ValueError, TypeError, KeyError):
        written = json.loads(content)
        holder, seconds = str(written["holder"]), float(written["seconds"])
    return _Held(holder, seconds, since)


def _remove(folder: Path) -> None:
    """A folder with a lease and nothing else, if it is still there."""
    with suppress(OSError):
        (folder / LEASE).unlink(missing_ok=True)
        folder.rmdir()


def _is_taken(error: OSError) -> bool:
    """Whether a rename says that another process was faster."""
    return error.errno in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST)


def _overwrite(path: Path, content: bytes) -> None:
    """In one write and without a moment in which the file is empty."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, content)
        os.ftruncate(descriptor, len(content))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
