"""Many devices as one: the batch is split, and one all-reduce a step brings the gradient together.

A width of 128 does not fill a pod, so sweeps come first: a mesh has the axes ``sweep``, over models
that never communicate, and ``data``, over samples. Both are explicit, by `jax.shard_map`: left to
the compiler, the all-reduce would sit in the backward loop, once for every time step.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..tasks.loader import Share

_ALL = "leave the mesh out for all devices"
SWEEP, DATA = "sweep", "data"
# Below, a step of two shares waits for the other longer than it saves.
SAMPLES_PER_CORE = 16
REPLICATED, PER_SAMPLE, PER_MODEL = PartitionSpec(), PartitionSpec(DATA), PartitionSpec(SWEEP)


def make_mesh(
    *, sweep: int = 1, data: int | None = None, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """The first ``sweep x data`` devices, by default all of them for data.

    Raises:
      ValueError: more than there are, fewer than one, or a process without one.
    """
    devices = jax.devices() if devices is None else list(devices)
    data = max(1, len(devices) // sweep) if data is None and sweep >= 1 else data
    if sweep < 1 or data is None or data < 1 or sweep * data > len(devices):
        raise ValueError(
            f"expected a mesh that fits the devices here ({len(devices)}), got "
            f"sweep={sweep}" + ("" if data is None else f", data={data}") + f"; {_ALL}"
        )
    if jax.process_count() > 1 and sweep * data < len(devices):
        raise ValueError(
            f"expected a mesh of all {len(devices)} devices of {jax.process_count()} processes, "
            f"got sweep={sweep}, data={data}; {_ALL}"
        )
    return Mesh(np.asarray(devices[: sweep * data]).reshape(sweep, data), (SWEEP, DATA))


def parse_mesh(text: str | None, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """``"sweep=4,data=2"`` of these devices, or one of the two, or nothing for all of them.

    Raises:
      ValueError: another text, or as `make_mesh`.
    """
    if text is None:
        return make_mesh(devices=devices)
    sizes: dict[str, int] = {}
    for part in text.split(","):
        name, _, size = part.partition("=")
        if name not in (SWEEP, DATA) or name in sizes or not size.isdecimal():
            raise ValueError(f"expected a mesh as in sweep=4,data=2, got {text!r}; {_ALL}")
        sizes[name] = int(size)
    return make_mesh(sweep=sizes.get(SWEEP, 1), data=sizes.get(DATA), devices=devices)


def mesh_for_batch(batch_size: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The devices to split a batch over where nobody says: all.

    Of CPU devices, which share one machine, as many as get equal shares of `SAMPLES_PER_CORE`
    samples or more, the same number in every process.
    """
    devices = jax.devices() if devices is None else list(devices)
    if devices[0].platform != "cpu":
        return make_mesh(devices=devices)
    processes = sorted({device.process_index for device in devices})
    own = [[d for d in devices if d.process_index == process] for process in processes]
    most = min(min(map(len, own)), batch_size // (SAMPLES_PER_CORE * len(own)))
    each = max((n for n in range(1, most + 1) if batch_size % (n * len(own)) == 0), default=1)
    return _along_data([device for some in own for device in some[:each]])


def _along_data(devices: Sequence[jax.Device]) -> Mesh:
    return Mesh(np.asarray(devices).reshape(1, -1), (SWEEP, DATA))


def as_text(mesh: Mesh) -> str:
    """What `parse_mesh` makes the same mesh of, as in ``"data=2"``."""
    named = {name: size for name, size in mesh.shape.items() if name == DATA or size > 1}
    return ",".join(f"{name}={size}" for name, size in named.items())


def platform(mesh: Mesh) -> str:
    """What kind of device a mesh has: cpu, gpu or tpu."""
    return mesh.devices.flat[0].platform


def check_divides(mesh: Mesh, batch_size: int) -> None:
    """ValueError unless every device gets as many samples of a batch as every other."""
    if batch_size % mesh.shape[DATA]:
        raise ValueError(
            f"expected a batch size that {mesh.shape[DATA]} devices can share, got {batch_size}; "
            f"try --batch-size {-(-batch_size // mesh.shape[DATA]) * mesh.shape[DATA]}, or fewer "
            f"devices with --mesh data=N"
        )


def axis_to_average(mesh: Mesh) -> str | None:
    """The axis that a step averages over; None where there is nothing to average."""
    return DATA if mesh.shape[DATA] > 1 else None


class Places(NamedTuple):
    """Where on a mesh a step finds its state, and where it leaves what it returns.

    Specs, or trees of them that begin as the state and the result do.
    """

    state: Any
    result: Any


def over_samples(mesh: Mesh, places: Places, step: Callable[..., Any]) -> Callable[..., Any]:
    """``step(state, batch)`` with the batch split over the data axis, compiled.

    What it returns as replicated must be the same on all devices. Nothing checks that
    (`check_vma=False`): with the check on, a step over `SBORNN` computes the same and meets as
    often, but JAX refuses cells in `nnx.RNN`, which starts them from zeros that are the same on all
    devices, and kernels.
    """
    spread = partial(jax.shard_map, mesh=mesh, out_specs=places.result, check_vma=False)
    return jax.jit(spread(step, in_specs=(places.state, PER_SAMPLE)))


@lru_cache(maxsize=32)
def compiled(mesh: Mesh, places: Places, step: Any, *static: Hashable) -> Callable[..., Any]:
    """`over_samples` of ``step(*static, state, batch, axis_name=axis)``, an average over the mesh.

    One object for equal arguments, and so for trainings that differ in their data alone: searches
    and cross-validation compile once.
    """
    return over_samples(mesh, places, partial(step, *static, axis_name=axis_to_average(mesh)))


def put(mesh: Mesh, spec: PartitionSpec, tree: Any) -> Any:
    """Arrays of this process on the mesh.

    Of a batch every process hands in the samples of its own devices; what is replicated, it hands
    in whole, and it must be the same in all of them.
    """
    if jax.process_count() == 1 or spec == REPLICATED:
        return put_whole(mesh, spec, tree)
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(partial(jax.make_array_from_process_local_data, sharding), tree)


def put_whole(mesh: Mesh, spec: PartitionSpec, tree: Any) -> Any:
    """Arrays that every process hands in whole, and the same, on the mesh."""
    sharding = NamedSharding(mesh, spec)
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(partial(_own_parts, sharding), tree)


def _own_parts(sharding: NamedSharding, leaf: Any) -> jax.Array:
    # Random keys, which make_array_from_process_local_data refuses, are welcome here.
    places = sharding.addressable_devices_indices_map(leaf.shape)
    parts = [jax.device_put(leaf[index], device) for device, index in places.items()]
    return jax.make_array_from_single_device_arrays(leaf.shape, sharding, parts)


def own_entries(array: jax.Array) -> np.ndarray:
    """Of an array that is split along its first axis, the entries on this process's devices.

    In their order, and each once, though several devices may hold it.
    """
    parts = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate([np.asarray(parts[start]) for start in sorted(parts)])


def local(tree: Any) -> Any:
    """This process's copies of arrays that are the same on all devices."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def gathered(mesh: Mesh, tree: Any) -> Any:
    """Whole arrays, on all devices, of arrays on the mesh; all processes call this together."""
    return jax.jit(_same, out_shardings=NamedSharding(mesh, REPLICATED))(tree)


def _same(tree: Any) -> Any:
    return tree


def own_share() -> Share:
    """What this process reads of every batch."""
    return Share(jax.process_index(), jax.process_count())
