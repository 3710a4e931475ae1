"""Devices that never answer, each waiting for another, are said aloud instead of kept silent."""

import threading
import warnings
from typing import TypeVar

import jax

_Tree = TypeVar("_Tree")

# Far more than what is waited for takes at any size that is trained here.
PATIENCE_SECONDS = 300.0


def wait_for(what: str, tree: _Tree) -> _Tree:
    """The arrays, once the devices have computed them; warns, once, if that takes very long."""
    timer = threading.Timer(PATIENCE_SECONDS, _tell, [what, PATIENCE_SECONDS])
    timer.daemon = True
    timer.start()
    try:
        return jax.block_until_ready(tree)
    finally:
        timer.cancel()


def _tell(what: str, seconds: float) -> None:
    warnings.warn(
        f"{what}: no answer from the devices after {seconds:g} s; if they are idle, they wait for "
        f"one another: stop, and go on with one device, as --resume --mesh data=1 does",
        RuntimeWarning,
        stacklevel=2,
    )
