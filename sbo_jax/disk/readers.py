"""Files that processes read for long, and that no process removes meanwhile.

On this machine a file that was removed can be read to its end; over a network it cannot, and a
process that has mapped it into memory is killed.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import IO


def hold(file: IO[bytes], path: Path) -> None:
    """Keep the file at this path until it is closed, and until no array is mapped to it.

    The lock is the system's, as that of a `Claim`: it ends with the process. A disk without locks
    has none, and nothing there is removed.

    Raises:
      OSError: it is being removed.
    """
    import fcntl  # not on Windows, where models can be loaded

    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a disk without locks
        return
    if not os.path.samestat(os.fstat(file.fileno()), path.stat()):
        raise FileNotFoundError(path)


def is_read(path: Path) -> bool:
    """Whether a process holds the file, or may do so where that cannot be known."""
    import fcntl

    with suppress(FileNotFoundError):
        try:
            with path.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            raise
        except OSError:
            return True
    return False
