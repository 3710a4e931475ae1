"""What the order of sums depends on, and so the last bits of a run.

So does what devices draw, each for its own share of a batch: dropout and augmentation.
"""

import warnings
from contextlib import suppress
from pathlib import Path

import jax
from jax.sharding import Mesh

from ..._words import counted
from ...devices.mesh import parse_mesh
from ...disk.text import Json
from ..config import TrainConfig
from .description import read_config


def machine(mesh: Mesh) -> str:
    """For the record of a checkpoint."""
    processes = counted(jax.process_count(), "process", "processes")
    return f"{counted(mesh.size, 'device')} in {processes}"


def on_the_same_devices(config: TrainConfig, folder: Path) -> TrainConfig:
    """The configuration with the mesh that the folder's run began on, unless it names another.

    As it is where the folder has no run, or one whose mesh does not fit the devices here, and for
    several processes, which split a batch over all their devices alike.
    """
    if config.run.mesh is not None or not config.run.resume or jax.process_count() > 1:
        return config
    with suppress(ValueError, KeyError):  # which whoever reads the folder says better
        begun = config.changed(mesh=read_config(folder)["config"]["mesh"])
        parse_mesh(begun.run.mesh)
        return begun
    return config


def warn_of_other_machine(record: Json, here: str) -> None:
    """Warns where the run of this record began on another `machine`."""
    if record["machine"] != here:
        warnings.warn(
            f"the run began with {record['machine']} and goes on with {here}: its numbers agree "
            f"with those of an uninterrupted run to rounding, not bit for bit; with dropout or "
            f"augmentation they differ, as every device draws for its own share of a batch",
            stacklevel=3,
        )
