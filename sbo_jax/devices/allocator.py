"""Memory that is freed and asked for again costs its page faults again.

XLA takes the memory of a step from the C library and gives it back after the step. glibc returns
blocks above 32 MiB to the system at once, and the next step has every page of them zeroed anew:
half of the time of a small recurrent layer's step.
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP = 2**31 - 1


def keep_freed_memory() -> bool:
    """Have glibc keep blocks of up to 2 GiB for the next step; False where there is no glibc.

    For the whole process, which then holds on to the most memory it ever had. Call it once, before
    training on CPU; the environment variables `MALLOC_MMAP_THRESHOLD_` and
    `MALLOC_TRIM_THRESHOLD_` of 2147483647 do the same.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(name, _KEEP) == 1 for name in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))
