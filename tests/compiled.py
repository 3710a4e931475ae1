"""Models and gradients under jit: eagerly every small operation would be compiled on its own."""

from flax import nnx


def call(model, *arrays, **options):
    """``model(*arrays, **options)``; options may hold flags as well as arrays."""
    return nnx.jit(lambda model, *arrays: model(*arrays, **options))(model, *arrays)


def grad(loss):
    """``nnx.grad(loss)``, with respect to the parameters of a model."""
    return nnx.jit(nnx.grad(loss))
