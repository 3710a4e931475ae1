"""A CPU as many devices: XLA gives a small recurrence one core, whatever the machine has."""

import os
import shutil
import sys

import jax
import joblib

_JAX_COUNT, _XLA_COUNT = "jax_num_cpu_devices", "xla_force_host_platform_device_count"


def usable_cores() -> int:
    """Cores that this process may use: those of its affinity, its container's quota, if smaller.

    Threads of one core count once where the system tells them apart. ``LOKY_MAX_CPU_COUNT`` in the
    environment is an upper limit.
    """
    tells = not sys.platform.startswith("linux") or shutil.which("lscpu") is not None
    try:
        return joblib.cpu_count(only_physical_cores=tells)
    except ValueError as error:
        raise ValueError(
            f"expected LOKY_MAX_CPU_COUNT as a whole number in the environment, got "
            f"{os.environ.get('LOKY_MAX_CPU_COUNT')!r}; remove it"
        ) from error


def use_all_cores() -> None:
    """Make a JAX device of every usable core of this CPU.

    For the whole process, and to be called before JAX looks for devices: the training scripts do,
    importing `sbo_jax` does not. A number that the user chose, by ``JAX_NUM_CPU_DEVICES``,
    ``jax.config.update("jax_num_cpu_devices", n)`` or XLA's flag, stays as it is.

    Raises:
      ValueError: the user chose none, 0.
      RuntimeError: JAX has looked for devices already.
    """
    by_flag, chosen = _XLA_COUNT in os.environ.get("XLA_FLAGS", ""), getattr(jax.config, _JAX_COUNT)
    if chosen == 0:
        raise ValueError("expected JAX_NUM_CPU_DEVICES >= 1, got 0; try 1")
    if not by_flag and chosen < 0:
        jax.config.update(_JAX_COUNT, usable_cores())
