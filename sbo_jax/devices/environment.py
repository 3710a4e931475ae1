"""Where a measurement was made: without it a number means nothing."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")


def environment() -> dict[str, Any]:
    """Device, versions, flags, threads and load, JSON-able."""
    return {
        "commit": commit(),
        "device": jax.devices()[0].device_kind,
        "platform": f"{platform.machine()}, Python {platform.python_version()}",
        "threads": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def commit() -> str | None:
    """The commit of this source tree, with "+" where it has changes; None outside of one."""
    here = Path(__file__)

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # an environment may be in another's tree
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
