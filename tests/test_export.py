"""Models are exported once for every batch size and length."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export

import sbo_jax as sbo
from sbo_jax import peers

IN, D = 3, 5

LAYERS = {
    "two layers": lambda rngs: sbo.SBORNN(IN, D, num_layers=2, rngs=rngs),
    "diagonal, chunks": lambda rngs: sbo.SBORNN(
        IN,
        D,
        lower=replace(sbo.PAPER, operator=sbo.Diagonal.init),
        rollout=sbo.Unrolled(remat_chunk=2),
        rngs=rngs,
    ),
    "step by step": lambda rngs: sbo.SBORNN(
        IN, D, lower=sbo.EQUILIBRIUM, rollout=sbo.StepEquilibrium(num_steps=3), rngs=rngs
    ),
    "streamed": lambda rngs: sbo.SBORNN(
        IN, D, lower=sbo.EQUILIBRIUM, rollout=sbo.Streamed(chunk=2), rngs=rngs
    ),
    "backwards": lambda rngs: sbo.SBORNN(IN, D, reverse=True, rngs=rngs),
}


def exported(function, sizes, *arrays):
    """`function` for inputs whose leading sizes have these names or numbers."""
    scope = export.SymbolicScope()
    specs = [
        jax.ShapeDtypeStruct(
            export.symbolic_shape(
                ",".join([*sizes, *map(str, x.shape[2:])][: x.ndim]), scope=scope
            ),
            x.dtype,
        )
        for x in arrays
    ]
    return export.export(jax.jit(function))(*specs)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("sizes", [("b", "t"), ("b", "6")])
def test_a_head_is_exported_with_open_sizes(name, sizes, rng):
    head = sbo.SequenceClassifier(LAYERS[name](nnx.Rngs(0)), D, 2, rngs=nnx.Rngs(1))
    graphdef, state = nnx.split(head)

    def call(xs, lengths):
        model = nnx.merge(graphdef, state)
        return model(xs, seq_lengths=lengths), model.predict(xs)

    steps = 6 if sizes[1] == "6" else 4
    xs = np.float32(rng.normal(size=(3, steps, IN)))
    lengths = np.array([1, steps, 2], np.int32)
    found = exported(call, sizes, xs, lengths).call(xs, lengths)
    for ours, theirs in zip(found, jax.jit(call)(xs, lengths), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_language_model_is_exported_with_open_sizes(rng):
    rnn = sbo.SBORNN(D, D, rngs=nnx.Rngs(0))
    graphdef, state = nnx.split(sbo.SequenceLanguageModel(rnn, D, 7, rngs=nnx.Rngs(1)))

    def call(tokens):
        return nnx.merge(graphdef, state)(tokens)

    tokens = rng.integers(0, 7, (2, 5)).astype(np.int32)
    ours = exported(call, ("b", "t"), tokens).call(tokens)
    np.testing.assert_allclose(ours, jax.jit(call)(tokens), rtol=1e-5, atol=1e-6)


def test_bricks_of_a_known_length_are_exported_with_open_sizes(rng):
    first, second = (peers.FastRNNCell(n, D, rngs=nnx.Rngs(n)) for n in (IN, D))
    xs = np.float32(rng.normal(size=(3, 5, IN)))

    def call(brick):
        graphdef, state = nnx.split(peers.ShaRNN(first, second, brick=brick))
        return lambda xs: nnx.merge(graphdef, state, copy=True)(xs)

    ours = exported(call(2), ("b", "t"), xs).call(xs)
    np.testing.assert_allclose(ours, jax.jit(call(2))(xs), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"known number of time steps, or brick, got t"):
        exported(call(None), ("b", "t"), xs)


@pytest.mark.parametrize(("sizes", "named"), [(("b", "6"), "b"), (("b", "t"), "t and b")])
def test_a_kernel_needs_to_know_its_sizes(sizes, named):
    rnn = sbo.SBORNN(IN, 16, rollout=sbo.Fused(interpret=True), rngs=nnx.Rngs(0))
    graphdef, state = nnx.split(rnn)
    with pytest.raises(ValueError, match=f"known sizes for a kernel, got {named}; export with"):
        exported(lambda xs: nnx.merge(graphdef, state)(xs), sizes, jnp.ones((2, 6, IN)))


def test_a_scan_in_parallel_needs_to_know_its_length(rng):
    lower = replace(sbo.PAPER, operator=sbo.Diagonal.init)
    rnn = sbo.SBORNN(IN, D, lower=lower, rollout=sbo.Parallel(), rngs=nnx.Rngs(0))
    graphdef, state = nnx.split(rnn)
    xs = jnp.ones((2, 6, IN))
    assert exported(lambda xs: nnx.merge(graphdef, state)(xs), ("b", "6"), xs)
    with pytest.raises(
        ValueError, match=r"known number of time steps .* got t; export with unroll"
    ):
        exported(lambda xs: nnx.merge(graphdef, state)(xs), ("b", "t"), xs)
