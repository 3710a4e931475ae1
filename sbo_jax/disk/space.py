"""Room on a disk, looked at before a library writes that prints a traceback for every file."""

import errno
import os
import shutil
from pathlib import Path

# What a file takes at least.
_FILE_BYTES = 4096


def check_room(path: Path, num_bytes: int, num_files: int) -> None:
    """OSError, as for a full disk, unless so many bytes in so many files fit."""
    if shutil.disk_usage(path).free < num_bytes + num_files * _FILE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
