"""What the order of sums, and so the last bits of a run, depends on."""

import warnings

import jax
from jax.sharding import Mesh

from ...disk.text import Json


def machine(mesh: Mesh) -> str:
    """For the record of a checkpoint."""
    return f"{mesh.size} devices in {jax.process_count()} processes"


def warn_of_other_machine(record: Json, here: str) -> None:
    """Warns where the run of this record began on another `machine`."""
    if record["machine"] != here:
        warnings.warn(
            f"the run began on {record['machine']} and goes on on {here}: its numbers agree with "
            f"those of an uninterrupted run to rounding, not bit for bit",
            stacklevel=3,
        )
