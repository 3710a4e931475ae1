"""Compiling less: models and gradients under jit, and flags of XLA for programs that run once."""

import jaxlib
from flax import nnx

# The suite compiles thousands of programs and runs each a few times. In jaxlib 0.10 the emitters of
# fusions are a third of the time of a compilation on CPU; later versions do not know these flags.
_QUICK = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
XLA_FLAGS = _QUICK if jaxlib.__version__.startswith("0.10.") else ""


def call(model, *arrays, **options):
    """``model(*arrays, **options)`` under jit; options may hold flags as well as arrays.

    Eagerly every small operation would be compiled on its own.
    """
    return nnx.jit(lambda model, *arrays: model(*arrays, **options))(model, *arrays)


def grad(loss):
    """``nnx.grad(loss)``, with respect to the parameters of a model."""
    return nnx.jit(nnx.grad(loss))
