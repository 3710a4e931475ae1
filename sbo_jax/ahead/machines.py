"""Machines that are not here, as compilers know them: libtpu any TPU, the CUDA plugin any GPU."""

import os
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

# Memory of a device by generation; in v2, v3 and tpu7x a chip is two devices.
_TPU_GIB = {"v2": 8, "v3": 16, "v4": 32, "v5e": 16, "v5p": 95, "v6e": 32, "tpu7x": 96}
_TPU_SHAPE = re.compile(r"([a-z0-9]+):\d+(x\d+){1,2}")
_GPU_SHAPE = re.compile(r"gpu:(?:(\d+)x)?(\d+)")
# What libtpu would ask a TPU's host for, and complain about: any answers do. And several processes
# may load it, since none of them holds a TPU.
_NO_HOST = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_ID": "0",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
_SPECS = "xla/backends/gpu/target_config/specs/h100_sxm.txtpb"


class Machine(NamedTuple):
    """Devices to compile for, each with so many bytes of memory."""

    name: str
    devices: Sequence[jax.Device]
    memory: int


def machine(topology: str, gpu: Path | None = None) -> Machine:
    """The machine of a topology; needs none of its devices, and no network.

    Args:
      topology: ``v5e:16x16``, a generation of TPU and the shape of its slice; or ``gpu:8``, the
        GPUs of a host, or ``gpu:2x8``, hosts and the GPUs of each.
      gpu: XLA's description of the GPU, a text of its ``GpuTargetConfigProto``.

    Raises:
      ValueError: a topology that does not exist, a compiler that is not installed.
    """
    if match := _GPU_SHAPE.fullmatch(topology):
        return _gpus(topology, f"1x{match[1] or 1}x{match[2]}", gpu)
    match = _TPU_SHAPE.fullmatch(topology)
    if match is None or match[1] not in _TPU_GIB:
        raise ValueError(
            f"expected a topology as in v5e:2x4 ({', '.join(_TPU_GIB)}) or gpu:8, got {topology!r}"
        )
    if gpu is not None:
        raise ValueError(f"--gpu has no effect with --topology {topology}; remove it")
    _check_installed("libtpu", f"'jax[tpu]=={jax.__version__}'")
    for name, value in _NO_HOST.items():
        os.environ.setdefault(name, value)
    devices = _devices(topology, "tpu", topology_name=topology)
    return Machine(topology, devices, _TPU_GIB[match[1]] * 2**30)


def _gpus(name: str, topology: str, gpu: Path | None) -> Machine:
    if gpu is None:
        raise ValueError(
            f"expected --gpu, XLA's description of the GPU, got none; try that of an H100, "
            f"{_SPECS} in the repository openxla/xla"
        )
    description = gpu.read_text()
    memory = re.search(r"device_memory_size: *(\d+)", description)
    if memory is None:
        raise ValueError(f"expected a description of a GPU as in XLA's {_SPECS}, got {gpu}")
    plugin = "jax-cuda12-plugin"
    pinned = f"{plugin}=={jax.__version__} jax-cuda12-pjrt=={jax.__version__}"
    _check_installed(plugin, f"{pinned} nvidia-cuda-nvcc-cu12")
    # Or the plugin refuses to start without cuDNN, which no compilation needs.
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    devices = _devices(name, "cuda", topology=topology, target_config=description)
    return Machine(name, devices, int(memory[1]))


def _check_installed(package: str, command: str) -> None:
    try:
        distribution(package)
    except PackageNotFoundError:
        raise ValueError(
            f"expected {package}, which compiles without the hardware, and found none; try pip "
            f"install {command}"
        ) from None


def _devices(name: str, platform: str, **options: Any) -> Sequence[jax.Device]:
    try:
        return topologies.get_topology_desc(platform=platform, **options).devices
    except (jax.errors.JaxRuntimeError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"expected a topology that exists, got {name!r} ({reason})") from error
