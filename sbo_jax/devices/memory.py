"""What a machine can hold: an absurd size is refused before anything is allocated."""

import os

import jax


def check_fits(what: str, num_bytes: int, advice: str) -> None:
    """ValueError if this alone takes more than all memory: that of the accelerator, if any.

    A lower estimate, so that what could run is never refused. XLA aborts the process for some
    allocations that fail, and the system ends a process, this or another, for others.
    """
    limit = _memory()
    if num_bytes > limit:
        raise ValueError(
            f"expected what fits the {_gib(limit)} of memory here, got {what} of "
            f"{_gib(num_bytes)}; {advice}"
        )


def _memory() -> int:
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.3g} GiB"
