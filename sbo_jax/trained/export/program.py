"""A model as one program of JAX's export format, its parameters inside.

The program is one file that no other parameters can get into, and its SHA-256 covers these. It
scales nothing and names nothing: float64 is not to be had on every device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import export
from jaxtyping import Array, Float, Int

from ...disk.text import Json
from ...nn.recall import RecallRNN
from ...peers.sharnn import ShaRNN
from ...rollouts.fused import Fused
from ...rollouts.fused_hopper import ExperimentalFusedHopper
from ...rollouts.fused_tpu import ExperimentalFusedTPU
from ...rollouts.parallel import Parallel
from ...rollouts.unrolled import Unrolled

PLATFORMS = ("cpu", "cuda", "tpu")


def exported(model: Any, shape: Json) -> export.Exported:
    """``program(inputs [b, t, d], lengths [b]) -> outputs``, for every b and t >= 1.

    Outputs are ``[b, k]`` or, of every step, ``[b, t, k]``; those past the length of a sequence
    mean nothing. Kernels, `Parallel` and chunks become a scan, which computes the same for any
    sizes.
    A `ShaRNN`, whose bricks depend on the length, has a fixed t and ignores `lengths`.

    Args:
      model: a `Readout`, as a run has it.
      shape: what config.json has under ``model``.
    """
    model = _step_by_step(nnx.clone(model))
    model.eval()
    graphdef, state = nnx.split(model)
    length = fixed_length(model, shape)

    def read(inputs: Float[Array, "b t d"], lengths: Int[Array, " b"]) -> Float[Array, "b *k"]:
        options = {"seq_lengths": lengths} if length is None else {}
        return nnx.merge(graphdef, state, copy=True)(inputs, **options)

    b, t = export.symbolic_shape(f"b, {length or 't'}")
    inputs = jax.ShapeDtypeStruct((b, t, shape["in_features"]), jnp.float32)
    with _without_locations():
        return export.export(jax.jit(read), platforms=PLATFORMS)(
            inputs, jax.ShapeDtypeStruct((b,), jnp.int32)
        )


def fixed_length(model: Any, shape: Json) -> int | None:
    """The number of steps that every sequence must have; None where any will do."""
    bricks = isinstance(model.rnn, ShaRNN) and model.rnn.brick is None
    return int(shape["length"]) if bricks else None


def _step_by_step(model: Any) -> Any:
    """The model, its layer read by a scan where anything faster needs to know sizes."""
    if isinstance(model.rnn, RecallRNN):
        model.rnn.read_step_by_step()
    match getattr(model.rnn, "rollout", None):
        case Fused() | ExperimentalFusedHopper() | ExperimentalFusedTPU():
            model.rnn.rollout = Unrolled()
        case Parallel(inner_steps=inner_steps):
            model.rnn.rollout = Unrolled(inner_steps=inner_steps)
    return model


@contextmanager
def _without_locations() -> Iterator[None]:
    """Programs without places in source files, which are those of this machine."""
    name = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)
